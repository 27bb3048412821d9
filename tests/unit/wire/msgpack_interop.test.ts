import { decode as decodeAny, encode as encodeAny, ExtData } from '@msgpack/msgpack'
import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../shared/base/random.ts'
import { decode, decodeHeader, encode, encodeHeader } from '../../../shared/wire/codec.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { encodeFrame } from '../../../shared/wire/frame.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { fromHex, MESSAGES } from './golden.ts'

describe('a msgpack library that knows nothing of Shoal', () => {
  it('reads every golden message; a tensor is a map whose data is at a multiple of 8', () => {
    for (const { name, value, hex } of MESSAGES) {
      const bytes = fromHex(hex)
      const read = decodeAny(bytes)
      expect(foreign(read, bytes), name).toEqual(foreign(value, bytes))
    }
  })

  it('reads the header of a frame', () => {
    const [message] = encodeFrame({
      type: 'response',
      id: 1,
      header: { message: { sum: 3 } },
      parts: [Uint8Array.of(7)],
    })
    if (!message) throw new Error('expected a message')
    const headerBytes = new DataView(message.buffer, message.byteOffset).getUint32(8, true)
    expect(decodeAny(message.subarray(12, 12 + headerBytes))).toEqual({ message: { sum: 3 }, parts: [1] })
  })

  it('writes what is read here, tensors too: pad is no duty, only a favour', () => {
    const data = new Uint8Array(Float32Array.of(1, -2).buffer)
    const message = encodeAny({ x: { $tensor: 'float32', shape: [2], data } })
    const { x } = decode(message) as { x: Tensor<'float32'> }
    expect(x).toBeInstanceOf(Tensor)
    expect([...x.data]).toEqual([1, -2])
    const reordered = encodeAny({ data, shape: [1, 2], $tensor: 'float32', pad: new Uint8Array(3) })
    expect([...(decode(reordered) as Tensor<'float32'>).data]).toEqual([1, -2])
  })

  it('writes what is refused here where it says what msgpack cannot be trusted with', () => {
    for (const value of [new Date(0), new ExtData(5, Uint8Array.of(1)), { a: new Date(0) }]) {
      expect(() => decode(encodeAny(value))).toThrow(RpcError)
    }
    expect(() => decode(encodeAny(2n ** 63n, { useBigInt64: true }))).toThrow(/integers must lie within/)
  })

  it('agrees with us on random values, both ways', () => {
    const random = seededRandom(6)
    for (let i = 0; i < 800; i++) {
      const value = randomValue(random, 0)
      expect(decodeAny(encode(value))).toEqual(value)
      expect(decode(encodeAny(value))).toEqual(value)
      expect(encode(value)).toEqual(encodeAny(value))
    }
  })

  it('writes headers byte for byte as we do, those of plain values and those of others', () => {
    const random = seededRandom(8)
    for (let i = 0; i < 2_000; i++) {
      const header = { value: i % 4 === 0 ? randomValue(random, 0) : plainValue(random, 0) }
      const encoded = encodeHeader(header)
      expect(encoded).toEqual(encodeAny(header, { ignoreUndefined: true }))
      expect(decodeHeader(encoded.slice())).toEqual(decodeAny(encoded))
    }
    // At the bounds of each form, and of the place where plain headers are written.
    for (const length of [0, 15, 16, 31, 32, 255, 256, 4_080, 4_090, 4_096, 65_535, 65_536]) {
      const header = {
        text: 'x'.repeat(length),
        list: new Array(length).fill(1),
        a: undefined,
        b: null,
        c: [undefined],
      }
      expect(encodeHeader(header)).toEqual(encodeAny(header, { ignoreUndefined: true }))
    }
    const numbers = [0, -0, -1, -32, -33, 2 ** 53, 0.5, NaN, -Infinity]
    for (const bits of [7, 8, 16, 31, 32, 53]) numbers.push(2 ** bits - 1, 2 ** bits, 1 - 2 ** bits)
    for (const value of numbers) expect(encodeHeader({ value })).toEqual(encodeAny({ value }))
  })

  it('reads random bytes as any library does, where it does not refuse them', () => {
    const random = seededRandom(7)
    let accepted = 0
    for (let i = 0; i < 30_000; i++) {
      const bytes = Uint8Array.from({ length: 1 + Math.floor(random() * 12) }, () => Math.floor(random() * 256))
      let value: unknown
      try {
        value = decode(bytes)
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(RpcError)
        expect((thrown as RpcError).code).toBe('invalid_argument')
        continue
      }
      accepted++
      expect(value).toEqual(decodeAny(bytes))
    }
    expect(accepted).toBeGreaterThan(1000)
  })
})

/** Values as a stranger sees them: tensors as their maps. */
function foreign(value: unknown, message: Uint8Array): unknown {
  if (value instanceof Tensor) return { $tensor: value.dtype, shape: [...value.shape], data: [...value.bytes] }
  if (value instanceof Uint8Array) return { bytes: [...value] }
  if (Array.isArray(value)) return value.map((entry) => foreign(entry, message))
  if (typeof value !== 'object' || value === null) return value
  if ('$tensor' in value) {
    const { $tensor, shape, pad, data, ...more } = value as Record<string, unknown>
    if (!(data instanceof Uint8Array) || !(pad instanceof Uint8Array)) throw new Error('expected binary data and pad')
    expect(more).toEqual({})
    expect((data.byteOffset - message.byteOffset) % 8).toBe(0)
    expect(pad.byteLength).toBeLessThan(8)
    return { $tensor, shape, data: [...data] }
  }
  const entries = Object.entries(value).filter(([, entry]) => entry !== undefined)
  return Object.fromEntries(entries.map(([key, entry]) => [key, foreign(entry, message)]))
}

/** What headers are made of: texts in ASCII and small numbers, in maps and lists of up to twenty. */
function plainValue(random: () => number, depth: number): unknown {
  const text = () =>
    String.fromCharCode(...Array.from({ length: random() ** 3 * 300 }, () => 1 + Math.floor(random() * 126)))
  switch (Math.floor(random() * (depth > 3 ? 4 : 6))) {
    case 0:
      return [null, true, false, undefined][Math.floor(random() * 4)]
    case 1:
      return Math.floor(random() * 2 ** Math.floor(random() * 34)) - 20
    case 2:
      return random() * 1000
    case 3:
      return text()
    case 4:
      return Array.from({ length: random() * 20 }, () => plainValue(random, depth + 1) ?? null)
    default:
      return Object.fromEntries(
        Array.from({ length: random() * 18 }, (_, i) => [`${i}${text()}`, plainValue(random, depth + 1)]),
      )
  }
}

function randomValue(random: () => number, depth: number): unknown {
  const kind = Math.floor(random() * (depth > 4 ? 7 : 9))
  const integer = () => Math.floor((random() - 0.5) * 2 ** Math.floor(random() * 54))
  const text = () =>
    String.fromCodePoint(...Array.from({ length: random() * 40 }, () => 1 + Math.floor(random() * 0xd7fe)))
  switch (kind) {
    case 0:
      return null
    case 1:
      return random() < 0.5
    case 2:
      // No negative zero: msgpack writes it as the integer 0.
      return integer() + 0
    case 3:
      return random() * 10 ** Math.floor(random() * 30) + 0.5
    case 4:
      return text()
    case 5:
      return Uint8Array.from({ length: random() * 300 }, () => random() * 256)
    case 6:
      return [NaN, Infinity, -Infinity, 2 ** 53, ''][Math.floor(random() * 5)]
    case 7:
      return Array.from({ length: random() * 20 }, () => randomValue(random, depth + 1))
    default:
      return Object.fromEntries(
        Array.from({ length: random() * 20 }, (_, i) => [`${i}${text()}`, randomValue(random, depth + 1)]),
      )
  }
}
