import { assert } from 'chai'
import { LIMITS } from '../../../shared/base/limits.ts'
import { encode } from '../../../shared/wire/codec.ts'
import { type Codec, decodePayload, encodePayload, type Payload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'

const CODECS: readonly Codec[] = ['json', 'msgpack', 'tensors', 'value']
const WIRE_CODECS: readonly Codec[] = ['json', 'msgpack', 'tensors']

const roundTrips: Suite['cases'] = {}
for (const codec of CODECS) {
  roundTrips[`${codec}: values and tensors go there and back`] = () => {
    const x = Tensor.from('float32', [2], [1, 2])
    const value = { a: [1, 'é', null, true, { b: -0.5 }], x, list: [x, Tensor.from('string', [1], ['sea'])] }
    const payload = encodePayload(value, codec)
    assert.equal(payload.codec, codec)
    for (let read = 0; read < 2; read++) {
      const { a, x: first, list: [second, text] } = decodePayload(payload) as typeof value
      assert.deepEqual(a, value.a)
      for (const tensor of [first, second]) {
        assert.instanceOf(tensor, Tensor)
        assert.deepEqual([...(tensor as Tensor<'float32'>).data], [1, 2])
      }
      assert.deepEqual(text?.data, ['sea'])
    }
  }
}

export const payloadSuite: Suite = {
  name: 'payloads',
  cases: {
    ...roundTrips,

    'a frame keeps the structure open and the data apart': () => {
      const [x, y] = [Tensor.from('uint8', [2], [1, 2]), Tensor.from('int16', [1, 1], [3])]
      const payload = encodePayload({ a: { x }, y }, 'tensors')
      assert.deepEqual<unknown>(payload, {
        codec: 'tensors',
        structure: {
          a: { x: { $tensor: 'uint8', shape: [2], part: 0 } },
          y: { $tensor: 'int16', shape: [1, 1], part: 1 },
        },
        parts: [x.bytes, y.bytes],
      })
      // Nothing is copied on the way in or out.
      if (payload.codec !== 'tensors') throw new Error('expected tensors')
      assert.strictEqual(payload.parts[0], x.bytes)
      assert.strictEqual((decodePayload(payload) as { y: Tensor }).y.bytes, y.bytes)
    },

    'decoding changes nothing that may yet be sent on': () => {
      const payload = encodePayload({ x: Tensor.from('uint8', [1], [1]), list: [{ a: 1 }] }, 'tensors')
      const before = JSON.stringify(payload)
      const value = decodePayload(payload) as { list: { a: number }[] }
      value.list.push({ a: 2 })
      assert.equal(JSON.stringify(payload), before)
    },

    'encoding copies the structure: what is sent later is what was given': () => {
      const value = { list: [1] }
      const payload = encodePayload(value, 'tensors')
      value.list.push(2)
      assert.deepEqual(decodePayload(payload), { list: [1] })
    },

    'references that no part answers are refused, also where there are no parts': () => {
      const reference = { $tensor: 'uint8', shape: [1], part: 0 }
      assertRefused(
        () => decodePayload(tensors({ x: reference }, [])),
        /part must be the number of one of 0 parts, got /,
      )
      for (const part of [1, -1, 0.5, NaN, '0', null, undefined, { valueOf: 0 }, [0], { toString: 1 }]) {
        assertRefused(() => decodePayload(tensors({ x: { ...reference, part } }, [Uint8Array.of(1)])), /part must be/)
      }
      assertRefused(
        () => decodePayload(tensors([{ ...reference, shape: [2] }], [Uint8Array.of(1)])),
        /must have 2 bytes/,
      )
      assertRefused(
        () => decodePayload(tensors({ ...reference, $tensor: 'x' }, [Uint8Array.of(1)])),
        /dtype must be one/,
      )
    },

    'one part may be named twice': () => {
      const reference = { $tensor: 'uint8', shape: [1], part: 0 }
      const [a, b] = decodePayload(tensors([reference, reference], [Uint8Array.of(9)])) as [Tensor, Tensor]
      assert.deepEqual([[...a.bytes], [...b.bytes]], [[9], [9]])
    },

    'what would not arrive as it was sent is refused, with its place': () => {
      class Point {
        x = 1
      }
      const wrong: [unknown, RegExp][] = [
        [new Date(0), /an instance of Date/],
        [new Map(), /an instance of Map/],
        [new Set(), /an instance of Set/],
        [new Point(), /an instance of Point/],
        [Float32Array.of(1), /an instance of Float32Array/],
        [new ArrayBuffer(1), /an instance of ArrayBuffer/],
        [1n, /a bigint/],
        [() => 1, /a function/],
        [Symbol('s'), /a symbol/],
        ['\ud800', /half of a surrogate pair in a text/],
        [{ '\udc00': 1 }, /half of a surrogate pair in a key/],
        [{ $tensor: 'float32' }, /the reserved key "\$tensor"/],
        [JSON.parse('{"__proto__":1}'), /the reserved key "__proto__"/],
        [{ constructor: 1 }, /the reserved key "constructor"/],
      ]
      for (const codec of WIRE_CODECS) {
        for (const [value, message] of wrong) {
          assertRefused(() => encodePayload(value, codec), message)
          assertRefused(() => encodePayload({ in: [0, value] }, codec), new RegExp(`${message.source}.* at "in\\.1`))
        }
      }
      // Between two parts of one process nothing is in the way.
      const date = new Date(0)
      assert.strictEqual(decodePayload(encodePayload(date, 'value')), date)
    },

    'plain objects of any origin are taken': () => {
      const bare = Object.assign(Object.create(null), { a: 1 })
      for (const codec of WIRE_CODECS) assert.deepEqual(decodePayload(encodePayload([bare], codec)), [{ a: 1 }])
    },

    'bytes and numbers that JSON has no words for are refused there, and pass elsewhere': () => {
      for (const value of [Uint8Array.of(1), NaN, Infinity, -Infinity]) {
        assertRefused(
          () => encodePayload({ a: value }, 'json'),
          /as JSON: expected plain data and tensors, got .* at "a"/,
        )
        for (const codec of ['msgpack', 'tensors'] as const) {
          assert.deepEqual(decodePayload(encodePayload({ a: value }, codec)), { a: value })
        }
      }
    },

    'nothing is null, and members that are nothing are left out': () => {
      for (const codec of WIRE_CODECS) {
        assert.deepEqual(decodePayload(encodePayload({ a: undefined, b: null }, codec)), { b: null }, codec)
      }
      for (const codec of ['json', 'msgpack'] as const) {
        assert.equal(decodePayload(encodePayload(undefined, codec)), null)
        assert.deepEqual(decodePayload(encodePayload([undefined], codec)), [null])
      }
    },

    'what may be encoded may be decoded, to the last level': () => {
      const nested = (levels: number, inner: unknown): unknown => {
        let value = inner
        for (let i = 0; i < levels; i++) value = i % 2 === 0 ? [value] : { a: value }
        return value
      }
      const tensor = Tensor.from('uint8', [1], [1])
      for (const codec of WIRE_CODECS) {
        // One level is a frame header's; a tensor is a map with a list in it.
        const deepest = encodePayload(nested(LIMITS.maxDepth - 1, 1), codec)
        assert.deepEqual(decodePayload(deepest), nested(LIMITS.maxDepth - 1, 1))
        if (deepest.codec === 'tensors') encode({ message: deepest.structure })
        const tensors = encodePayload(nested(LIMITS.maxDepth - 3, tensor), codec)
        decodePayload(tensors)
        assertRefused(() => encodePayload(nested(LIMITS.maxDepth, 1), codec), /nested more than 31 deep/)
        assertRefused(() => encodePayload(nested(LIMITS.maxDepth - 2, tensor), codec), /nested more than 31 deep/)
      }
      const loop: unknown[] = []
      loop.push(loop)
      for (const codec of WIRE_CODECS) assertRefused(() => encodePayload(loop, codec), /nested more than 31 deep/)
    },
  },
}

function tensors(structure: unknown, parts: readonly Uint8Array[]): Payload {
  return { codec: 'tensors', structure, parts }
}
