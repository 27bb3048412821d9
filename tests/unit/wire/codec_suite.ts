import { assert } from 'chai'
import { encodeUtf8 } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { decode, decodeHeader, decodeJson, encode, encodeHeader, encodeParts } from '../../../shared/wire/codec.ts'
import { type DType, DTYPE_LIST, DTYPES } from '../../../shared/wire/dtype.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'

const alignment: Suite['cases'] = {}
for (const dtype of DTYPE_LIST) {
  alignment[`${dtype} data are views at a multiple of 8, whatever stands around them`] = () => {
    // The text moves the tensor through every place modulo 8, and its count through every step of bin's length.
    for (let before = 0; before < 40; before++) {
      for (const count of [0, 1, 3, 40, 300, 70_000]) {
        if (count > 300 && (before > 8 || dtype === 'string')) continue
        const tensor = tensorOf(dtype, count)
        const message = encode(['x'.repeat(before), { [`key${before % 3}`]: tensor }, [tensor, before]])
        const [text, map, [second]] = decode(message) as [string, Record<string, Tensor>, [Tensor]]
        assert.equal(text.length, before)
        for (const read of [map[`key${before % 3}`], second]) {
          if (!read) throw new Error('expected a tensor')
          assert.equal(read.dtype, dtype)
          assert.equal(read.bytes.buffer, message.buffer)
          assert.equal(read.bytes.byteOffset % 8, 0, `${before} before, ${count} elements`)
          assert.deepEqual(read.bytes, tensor.bytes)
          const { data } = read
          if (!Array.isArray(data)) assert.equal(data.buffer, message.buffer, 'the data are not copied')
        }
      }
    }
  }
}

export const codecSuite: Suite = {
  name: 'codec',
  cases: {
    ...alignment,

    'data of shifted messages are still read': () => {
      const tensor = Tensor.from('float64', [2], [0.5, -0.25])
      const message = encode({ tensor })
      for (let shift = 0; shift < 8; shift++) {
        const shifted = new Uint8Array(shift + message.length).subarray(shift)
        shifted.set(message)
        const { tensor: read } = decode(shifted) as { tensor: Tensor<'float64'> }
        assert.deepEqual([...read.data], [0.5, -0.25])
      }
    },

    'parts are the message, and its tensors their own data': () => {
      const tensor = Tensor.from('float32', [3], [1, 2, 3])
      const parts = encodeParts({ a: 1, tensor, b: [tensor] })
      assert.equal(parts.filter((part) => part === tensor.bytes).length, 2)
      const joined = new Uint8Array(parts.reduce((total, part) => total + part.length, 0))
      let offset = 0
      for (const part of parts) {
        joined.set(part, offset)
        offset += part.length
      }
      assert.deepEqual(joined, encode({ a: 1, tensor, b: [tensor] }))
    },

    'what was encoded before does not change with what is encoded after': () => {
      const first = encode({ name: 'first' })
      const kept = first.slice()
      const parts = encodeParts({ tensor: Tensor.from('uint8', [1], [1]) })
      const keptParts = parts.map((part) => part.slice())
      encode({ name: 'other', more: 'x'.repeat(100) })
      assert.deepEqual(first, kept)
      assert.deepEqual(parts, keptParts)
    },

    'texts keep a byte-order mark, however long': () => {
      for (const length of [0, 1, 47, 48, 197, 198, 250, 300, 70_000]) {
        const text = `\ufeff${'x'.repeat(length)}`
        assert.equal(decode(encode(text)), text, `${length}`)
        const mixed = { [text.slice(0, 100)]: [text, Tensor.from('int8', [1], [7]), `${text}\ufeff`], n: 1 }
        const read = decode(encode(mixed)) as Record<string, [string, Tensor, string]>
        const [same, tensor, other] = read[text.slice(0, 100)] ?? []
        assert.equal(same, text)
        assert.equal(other, `${text}\ufeff`)
        assert.deepEqual([...(tensor as Tensor<'int8'>).data], [7])
      }
      assert.deepEqual(decodeHeader(encodeHeader({ a: `\ufeff${'x'.repeat(300)}` })), { a: `\ufeff${'x'.repeat(300)}` })
    },

    'numbers and texts go through unchanged': () => {
      const numbers = [
        0,
        -0,
        1,
        2 ** 31,
        -(2 ** 31) - 1,
        2 ** 53 - 1,
        1 - 2 ** 53,
        2 ** 53,
        2 ** 64,
        1e308,
        5e-324,
        NaN,
      ]
      const read = decode(encode(numbers)) as number[]
      // A negative zero is the one number that changes: it is sent as the integer 0.
      for (const [i, number] of numbers.entries()) assert.deepEqual(read[i], number === 0 ? 0 : number)
      for (const text of ['', 'a', 'é'.repeat(100), '🐟'.repeat(1000), '\u0000', 'x'.repeat(70_000)]) {
        assert.equal(decode(encode(text)), text)
      }
    },

    'a header keeps references to parts as they are': () => {
      const header = { message: { x: { $tensor: 'float32', shape: [2], part: 0 } } }
      assert.deepEqual(decodeHeader(encodeHeader(header)), header)
      assertRefused(() => encodeHeader({ x: Tensor.from('uint8', [1], [1]) }), /tensors must be parts/, 'internal')
      // Nothing of the refused header is left over for the next message.
      assert.deepEqual(decode(encode({ a: 1 })), { a: 1 })
    },

    'what msgpack cannot hold is our failure, and leaves nothing behind': () => {
      for (const value of [{ a: 1n }, { a: () => 1 }, { a: Symbol('s') }]) {
        assertRefused(() => encode([Tensor.from('uint8', [1], [1]), value]), /^Cannot encode the message/, 'internal')
        assert.deepEqual(decode(encode({ a: 1 })), { a: 1 })
      }
      const loop: Record<string, unknown> = {}
      loop.loop = loop
      assertRefused(() => encode(loop), /Too deep/, 'internal')
    },

    'broken tensors are refused': () => {
      const good = { $tensor: 'float32', shape: [2], data: new Uint8Array(8) }
      assert.instanceOf(decode(encode(good)), Tensor)
      const broken: [Record<string, unknown>, RegExp][] = [
        [{ ...good, $tensor: 'float33' }, /dtype must be one of/],
        [{ ...good, $tensor: 7 }, /dtype must be one of/],
        [{ ...good, $tensor: null }, /dtype must be one of/],
        [{ ...good, shape: undefined }, /shape must be a list/],
        [{ ...good, shape: [3] }, /must have 12 bytes, got 8/],
        [{ ...good, shape: [-2, -1] }, /each size must be a whole number/],
        [{ ...good, shape: [0.5, 4] }, /each size must be a whole number/],
        [{ ...good, shape: [2 ** 40, 2 ** 40] }, /at most 2\^53 - 1 elements/],
        [{ ...good, shape: new Array(17).fill(1) }, /at most 16 sizes/],
        [{ ...good, shape: { toString: 1 } }, /shape must be a list/],
        [{ ...good, data: undefined }, /data must be binary, got undefined/],
        [{ ...good, data: [1, 2] }, /data must be binary, got an array/],
        [{ ...good, data: 'abcdefgh' }, /data must be binary, got string/],
        [{ ...good, data: new Uint8Array(7) }, /must have 8 bytes, got 7/],
        [{ ...good, $tensor: 'string', data: new Uint8Array(8).fill(1) }, /a length runs past the end/],
      ]
      for (const [map, message] of broken) {
        assertRefused(() => decode(encode({ deep: [map] })), message)
      }
    },

    'a tensor may hold more than it must': () => {
      const map = { note: 'x', $tensor: 'uint8', shape: [2], data: Uint8Array.of(1, 2) }
      assert.deepEqual([...(decode(encode(map)) as Tensor<'uint8'>).data], [1, 2])
    },

    'tensors in JSON are read, and checked': () => {
      const read = decodeJson(encodeUtf8('{"x":[{"$tensor":"int64","shape":[2],"data":[1,"9007199254740993"]}]}')) as {
        x: [Tensor<'int64'>]
      }
      assert.deepEqual([...read.x[0].data], [1n, 9007199254740993n])
      assertRefused(() => decodeJson(encodeUtf8('{"$tensor":"int8","shape":[2],"data":[1]}')), /must have 2 elements/)
      assertRefused(() => decodeJson(encodeUtf8('{"$tensor":"int8","shape":"2","data":[1]}')), /shape must be a list/)
      assertRefused(() => decodeJson(encodeUtf8('{"$tensor":"int8","shape":[1],"data":{}}')), /data must be an array/)
    },

    'large messages are let go': () => {
      // Both sides keep their last message; one too large is replaced by the next. What matters here: they still work.
      const large = 'x'.repeat(3_000_000)
      assert.equal(decode(encode(large)), large)
      assert.equal(decode(encode('small')), 'small')
    },

    'depth is bounded alike on both sides': () => {
      const nested = (levels: number) => {
        let value: unknown = 1
        for (let i = 0; i < levels; i++) value = i % 2 === 0 ? [value] : { a: value }
        return value
      }
      assert.deepEqual(decode(encode(nested(LIMITS.maxDepth))), nested(LIMITS.maxDepth))
      assertRefused(() => encode(nested(LIMITS.maxDepth + 1)), /Too deep/, 'internal')
    },
  },
}

function tensorOf(dtype: DType, count: number): Tensor {
  if (dtype === 'string') return Tensor.from('string', [count], Array.from({ length: count }, (_, i) => `s${i % 10}`))
  const bytes = new Uint8Array(count * DTYPES[dtype].bytes)
  for (let i = 0; i < bytes.length; i++) bytes[i] = i % 100
  return new Tensor(dtype, [count], bytes)
}
