import { assert } from 'chai'
import { LIMITS } from '../../../shared/base/limits.ts'
import { decode, encode } from '../../../shared/wire/codec.ts'
import { readMsgpack } from '../../../shared/wire/msgpack_reader.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'
import { fromHex } from './golden.ts'

export const scanSuite: Suite = {
  name: 'msgpack from strangers',
  cases: {
    'nested arrays that declare 30 million entries are refused before anything is allocated': () => {
      for (const size of [100, 10_000]) {
        const bomb = new Uint8Array(size)
        for (let at = 0; at + 5 <= size; at += 5) bomb.set([0xdd, 0x01, 0xc9, 0xc3, 0x80], at)
        refused(bomb, /a length of 30000000 at byte 5 runs past the end/)
      }
      // Each header claims no more than what is left: the depth ends it, not the length.
      const nested = new Uint8Array(10_000)
      for (let at = 0; at + 3 <= nested.length; at += 3) nested.set([0xdc, 0x00, 0x01], at)
      refused(nested, /nesting may be at most 32 deep, got more at byte \d+/)
    },

    'more values than the cap are refused, also spread over many containers': () => {
      refused(concatenated([0xdd, 0, 1, 0x86, 0xa1], new Uint8Array(100_001)), /at most 100000 values/)
      const many = new Uint8Array(5 + 60_000 * 3)
      many.set([0xdd, 0, 0, 0xea, 0x60])
      for (let at = 5; at < many.length; at += 3) many.set([0x92, 1, 2], at)
      refused(many, /at most 100000 values/)
      assert.equal((decode(concatenated([0xdd, 0, 1, 0x86, 0xa0], new Uint8Array(100_000))) as []).length, 100_000)
    },

    'five million levels are refused at the 33rd': () => {
      refused(new Uint8Array(5_000_000).fill(0x91), /nesting may be at most 32 deep/)
      refused(new Uint8Array(5_000_000).fill(0x81), /map keys must be strings/)
      const maps = new Uint8Array(3_000_000)
      for (let at = 0; at < maps.length; at += 3) maps.set([0x81, 0xa1, 0x61], at)
      refused(maps, /nesting may be at most 32 deep/)
    },

    'depth is counted in containers, empty ones too': () => {
      const nested = (levels: number, inner: number[]) => concatenated(new Array(levels).fill(0x91), inner)
      readMsgpack(nested(LIMITS.maxDepth, [0xc0]))
      readMsgpack(nested(LIMITS.maxDepth - 1, [0x90]))
      refused(nested(LIMITS.maxDepth, [0x90]), /nesting/)
      refused(nested(LIMITS.maxDepth, [0x80]), /nesting/)
      // Beside each other they do not add up.
      readMsgpack(concatenated([0xdc, 0, 100], new Array(100).fill(0x91).flatMap((head) => [head, head, 0x90])))
    },

    'texts that are no UTF-8 are refused, in values and in keys': () => {
      const bad = [
        '80',
        'c0 80',
        'c3 28',
        'e2 82',
        'ed a0 80',
        'ed bf bf',
        'f0 80 80 80',
        'f4 90 80 80',
        'f8 88 80 80 80',
      ]
      for (const hex of bad) {
        const text = [...fromHex(hex)]
        const padded = [...new Array(60).fill(0x61), ...text]
        refused([0xa0 + text.length, ...text], /valid UTF-8/)
        refused([0xd9, padded.length, ...padded], /valid UTF-8/)
        refused([0x81, 0xa0 + text.length, ...text, 0xc0], /valid UTF-8/)
        refused([0x81, 0xd9, padded.length, ...padded, 0xc0], /valid UTF-8/)
        // Among so many keys that they are kept in another way.
        refused(asMap(14, [...entries(13), 0xa0 + text.length, ...text, 0xc0]), /valid UTF-8/)
      }
    },

    'texts that were met before do not let bytes pass that are no UTF-8': () => {
      // As Latin-1 these bytes are texts that were read a moment ago: whichever place was kept for those, some meet it.
      for (let first = 0x80; first <= 0xff; first++) {
        for (let more = 0; more < 8; more++) {
          const text = `${String.fromCharCode(first)}${'é'.repeat(more)}xz`
          assert.equal(decode(encode(text)), text)
          assert.deepEqual(decode(encode({ [text]: 1 })), { [text]: 1 })
          const bad = Array.from(text, (character) => character.charCodeAt(0))
          refused([0xa0 + bad.length, ...bad], /valid UTF-8/)
          refused([0x81, 0xa0 + bad.length, ...bad, 0xc0], /valid UTF-8/)
        }
      }
    },

    'keys that come twice are refused, however they are written': () => {
      refused(fromHex('82 a1 61 01 a1 61 02'), /key "a" appears twice/)
      refused(fromHex('82 a1 61 01 d9 01 61 02'), /key "a" appears twice/)
      refused(fromHex('82 a1 61 01 da 0001 61 02'), /key "a" appears twice/)
      refused(fromHex('82 a1 61 01 db 00000001 61 02'), /key "a" appears twice/)
      refused(fromHex('82 a0 01 a0 02'), /key "" appears twice/)
      refused(fromHex('82 a2 c3a9 01 a2 c3a9 02'), /key "é" appears twice/)
      // In a map inside, and in the outer one again after it.
      refused(fromHex('81 a1 61 82 a1 62 01 a1 62 02'), /key "b" appears twice/)
      refused(fromHex('83 a1 61 01 a1 62 81 a1 63 02 a1 61 03'), /key "a" appears twice/)
      for (const count of [2, 12, 13, 14, 40, 300]) {
        for (const key of ['k0', `k${count - 1}`]) {
          refused(asMap(count + 1, [...entries(count), ...keyBytes(key), 0xc0]), /appears twice/)
        }
      }
      // The same key in different maps is no key twice.
      assert.deepEqual(decode(fromHex('92 81 a1 61 01 81 a1 61 81 a1 61 02')), [{ a: 1 }, { a: { a: 2 } }])
      // Keys with one hash: 31 · "A" + "a" is 31 · "B" + "B".
      assert.deepEqual(decode(encode({ Aa: 1, BB: 2 })), { Aa: 1, BB: 2 })
    },

    'a long key is quoted in part': () => {
      const key = 'k'.repeat(100_000)
      const entry = encode({ [key]: 1 }).subarray(1)
      const error = thrownBy(() => decode(concatenated([0x82], entry, entry)))
      assert.isBelow(error.length, 200)
    },

    'keys that reach into prototypes are refused at every depth': () => {
      for (const key of ['__proto__', 'constructor', 'prototype']) {
        refused(concatenated([0x81], keyBytes(key), [0xc0]), new RegExp(`key "${key}" is not accepted`))
        refused(concatenated([0x91, 0x81, 0xa1, 0x61, 0x81], keyBytes(key), [0xc0]), /is not accepted/)
        refused(concatenated([0x81, 0xd9, key.length], keyBytes(key).slice(1), [0xc0]), /is not accepted/)
        refused(asMap(21, [...entries(20), ...keyBytes(key), 0xc0]), /is not accepted/)
        // As a value it is a text like any other.
        assert.equal(decode(encode(key)), key)
      }
      for (const key of ['__proto_', 'constructors', 'prototypE', 'toString', 'hasOwnProperty', 'then']) {
        assert.deepEqual(decode(encode({ [key]: 1 })), { [key]: 1 })
      }
    },

    'integers that a double would round are refused, all others are exact': () => {
      for (const hex of ['cf ffffffffffffffff', 'cf 0020000000000000', 'd3 ffe0000000000000', 'd3 8000000000000000']) {
        refused(fromHex(hex), /integers must lie within/)
        refused(fromHex(`81 a1 61 ${hex}`), /integers must lie within/)
      }
      assert.equal(decode(fromHex('cf 001fffffffffffff')), 2 ** 53 - 1)
      assert.equal(decode(fromHex('d3 ffe0000000000001')), 1 - 2 ** 53)
      assert.equal(decode(fromHex('d3 001fffffffffffff')), 2 ** 53 - 1)
      assert.equal(decode(fromHex('cf 0000000000000001')), 1)
    },

    'every form of an extension is refused, and the byte without a meaning': () => {
      const forms = ['d4 01 00', 'd5 01 0000', 'd6 ff 00000000', 'd7 ff 0000000000000000', `d8 01 ${'00'.repeat(16)}`]
      for (const hex of [...forms, 'c7 00 01', 'c8 0000 01', 'c9 00000000 01', 'c1']) {
        refused(fromHex(hex), /is not accepted \(extensions are not used\)/)
        refused(fromHex(`92 01 ${hex}`), /is not accepted/)
      }
    },

    'bytes after the value are refused, and no value at all': () => {
      refused(fromHex('c0 c0'), /expected one value, got 1 bytes more/)
      refused(fromHex('80 00'), /expected one value/)
      refused(fromHex('90 90 90'), /got 2 bytes more/)
      refused([], /expected a value at byte 0, got the end/)
    },

    'keys must be texts': () => {
      const heads = [
        '01',
        'e0',
        'c0',
        'c2',
        '90',
        '80',
        'c4 00',
        'ca 00000000',
        'cf 0000000000000001',
        'd4 01 00',
        'c1',
      ]
      for (const head of heads) refused(fromHex(`81 ${head} c0`), /map keys must be strings/)
      refused(fromHex('82 a1 61 01 01 02'), /map keys must be strings/)
    },

    'lengths that run past the end are refused': () => {
      for (const hex of ['a1', 'd9 01', 'da 0001', 'db 00000001', 'dbffffffff', 'c4 01', 'c5 0001', 'c6 ffffffff']) {
        refused(fromHex(hex), /runs past the end/)
      }
      for (const hex of ['d9', 'da 00', 'db 000000', 'c4', 'c5 00', 'c6 0000', 'dc 00', 'dd 00', 'de', 'df 00']) {
        refused(fromHex(hex), /expected a length/)
      }
      for (const hex of ['cc', 'cd 00', 'ce 000000', 'cf 00', 'd0', 'd1 00', 'd2', 'd3 00', 'ca 00', 'cb 00']) {
        refused(fromHex(hex), /runs past the end/)
      }
      for (const hex of ['de ffff', 'df 7fffffff', 'df ffffffff', 'dd ffffffff', '81', '8f a0']) {
        refused(fromHex(hex), /runs past the end/)
      }
    },

    'every head is accepted or refused, with nothing read past the end': () => {
      for (let head = 0; head < 256; head++) {
        // Enough for any head's length and content: zeros are fixints, empty texts or lengths of nothing.
        for (let more = 0; more < 12; more++) {
          const [longer, bytes] = [new Uint8Array(40), new Uint8Array(1 + more)]
          longer[0] = bytes[0] = head
          // What stands behind the message in its buffer changes nothing.
          const outcomes = [bytes, longer.subarray(0, 1 + more)].map((message) => outcomeOf(() => decode(message)))
          assert.deepEqual(outcomes[0], outcomes[1])
        }
      }
    },

    'a refused message leaves nothing behind for the next': () => {
      for (const hex of ['81 a1 61', '82 a1 61 81 a1 62', '91 81 a1 61 c1']) refused(fromHex(hex), /./)
      refused(asMap(40, entries(39)), /./)
      assert.deepEqual(decode(encode({ a: { b: 1 } })), { a: { b: 1 } })
      assert.deepEqual(readMsgpack(encode({ a: 1 })), { value: { a: 1 }, hasTensors: false })
    },

    'only a key named $tensor makes a tensor': () => {
      assert.isTrue(readMsgpack(encode({ $tensor: 1 })).hasTensors)
      assert.isTrue(readMsgpack(encode([{ a: { $tensor: 1 } }])).hasTensors)
      const many = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`k${i}`, i]))
      assert.isTrue(readMsgpack(encode({ ...many, $tensor: 1 })).hasTensors)
      assert.isTrue(readMsgpack(encode({ $tensor: 1, ...many })).hasTensors)
      for (const value of ['$tensor', { tensor: 1 }, { $tensors: 1 }, { a: '$tensor' }, { $Tensor: 1 }]) {
        assert.isFalse(readMsgpack(encode(value)).hasTensors, JSON.stringify(value))
      }
    },
  },
}

function refused(bytes: ArrayLike<number>, message: RegExp): void {
  assertRefused(() => decode(Uint8Array.from(bytes)), message)
}

function thrownBy(action: () => unknown): string {
  try {
    action()
  } catch (thrown) {
    return String((thrown as Error).message)
  }
  return assert.fail('expected a refusal')
}

function outcomeOf(action: () => unknown): unknown {
  try {
    return action()
  } catch (thrown) {
    assert.instanceOf(thrown, RpcError)
    return String(thrown)
  }
}

function concatenated(...parts: ArrayLike<number>[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => Array.from(part)))
}

function keyBytes(key: string): number[] {
  return [...encode(key)]
}

/** Entries of a map: k0, k1, … to nil. */
function entries(count: number): number[] {
  return Array.from({ length: count }, (_, i) => [...keyBytes(`k${i}`), 0xc0]).flat()
}

function asMap(count: number, entries: number[]): number[] {
  return [0xde, count >> 8, count % 256, ...entries]
}
