import { assert } from 'chai'
import { encodeUtf8 } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { decodeJson, encodeJson } from '../../../shared/wire/codec.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'

export const jsonSuite: Suite = {
  name: 'JSON from strangers',
  cases: {
    'what JSON.parse reads is read alike': () => {
      const texts = [
        'null',
        ' [ ] ',
        '{}',
        '"a"',
        '-0.5e-7',
        '1E5',
        '[1,2,{"a":[true,false,null]}]',
        '"\\u00e9\\n\\"\\\\"',
      ]
      texts.push('{"a":{"b":[{"c":1},{"c":2}]},"b":"}{][,:"}', '[[],[[]],{"a":{}}]', '"\\ud83d\\udc1f"', '{"":0}')
      texts.push('[0.1,1e+20,1e22,123456789012345,1.0000000000000000001]', '{"a\\"b":1,"a\\\\":2}')
      for (const text of texts) assert.deepEqual(decode(text), JSON.parse(text), text)
    },

    'what is no JSON is refused': () => {
      const texts = [
        '',
        ' ',
        '{',
        '}',
        '[',
        ']',
        '{]',
        '[}',
        '[1,]',
        '{"a"}',
        '{"a":}',
        '{a:1}',
        "'a'",
        '"a',
        '"\\',
        '1 2',
      ]
      texts.push('nul', 'NaN', 'Infinity', '01', '+1', '1.', '.5', '-', '1e', '--1', '"\\x"', '"\\u12"', '{"\\x":1}')
      texts.push('{"a":1}}', '[]]', '\ufeff1', '// 1', '{"\\u12":1}', '"\n"')
      for (const text of texts) refused(text, /^Cannot decode the message: /)
    },

    'text that is no UTF-8 is refused': () => {
      assertRefused(
        () => decodeJson(Uint8Array.of(0x22, 0xff, 0x22)),
        /JSON must be valid UTF-8, got bytes that are not/,
      )
      assertRefused(() => decodeJson(Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22)), /JSON must be valid UTF-8/)
    },

    'keys that come twice are refused, escaped ones too': () => {
      refused('{"a":1,"a":2}', /key "a" appears twice/)
      refused('{"a":1,"\\u0061":2}', /key "a" appears twice/)
      refused('{"\\u0061":1,"a":2}', /key "a" appears twice/)
      refused('{"é":1,"\\u00e9":2}', /key "é" appears twice/)
      refused('{"x":{"a":1,"a":2}}', /key "a" appears twice/)
      refused('{"a":1,"x":{"b":1},"a":2}', /key "a" appears twice/)
      refused('{"a":1,"x":[{"a":1}],"a":2}', /key "a" appears twice/)
      const many = Array.from({ length: 30 }, (_, i) => `"k${i}":${i}`).join()
      for (const key of ['k0', 'k11', 'k12', 'k13', 'k29', '\\u006b3']) refused(`{${many},"${key}":0}`, /appears twice/)
      assert.equal(Object.keys(decode(`{${many}}`) as object).length, 30)
      assert.deepEqual(decode('[{"a":1},{"a":{"a":2}}]'), [{ a: 1 }, { a: { a: 2 } }])
      // A text that looks like a key is none.
      assert.deepEqual(decode('{"a":"b","b":"a","c":["a","a"]}'), { a: 'b', b: 'a', c: ['a', 'a'] })
    },

    'keys that reach into prototypes are refused, escaped ones too': () => {
      for (const key of ['__proto__', 'constructor', 'prototype']) {
        refused(`{"${key}":1}`, new RegExp(`key "${key}" is not accepted`))
        refused(`[{"a":{"${key}":{}}}]`, /is not accepted/)
        refused(`{"${key.replace('o', '\\u006f')}":1}`, /is not accepted/)
        refused(`{"$tensor":"int8","shape":[0],"data":[],"${key}":1}`, /is not accepted/)
        assert.equal(decode(`"${key}"`), key)
      }
    },

    'integers that a double would round are refused': () => {
      for (
        const text of [
          '9007199254740993',
          '-9007199254740993',
          '18446744073709551615',
          '123456789012345678901',
          '1'.repeat(400),
        ]
      ) {
        refused(text, /integers must be exact/)
        refused(`{"a":[${text}]}`, /integers must be exact/)
      }
      // What JavaScript itself writes is read: doubles up to 1e21 look like integers.
      for (const number of [2 ** 53 - 1, 2 ** 53, 1e20, 2 ** 60, -(2 ** 62), 999999999999999, -999999999999999]) {
        assert.equal(decode(JSON.stringify(number)), number)
      }
    },

    'numbers that would become infinite are refused': () => {
      for (
        const text of [
          '1e309',
          '-1e309',
          '1e400',
          '1E+400',
          '0.1e310',
          '1e0309',
          `${'9'.repeat(400)}.5`,
          `1${'0'.repeat(308)}e1`,
        ]
      ) {
        refused(text, /numbers must be finite|integers must be exact/)
      }
      for (const text of ['1e308', '1e-400', `0.${'1'.repeat(400)}`, '1e+100', '5e-324']) {
        assert.equal(decode(text), Number(text))
      }
    },

    'half of a surrogate pair is refused: it could not travel on': () => {
      for (
        const text of [
          '"\\ud800"',
          '"\\udfff"',
          '["\\ud83d a"]',
          '{"a":{"b":"\\uD800"}}',
          '{"\\udc00":1}',
          '"\\ud800\\u0041"',
        ]
      ) {
        refused(text, /half of a surrogate pair, got "/)
      }
      assert.deepEqual(decode('["\\ud83d\\udc1f","\\\\ud800","\\udbff\\udfff"]'), ['🐟', '\\ud800', '\u{10ffff}'])
    },

    'depth is bounded': () => {
      const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`
      decode(nested(LIMITS.maxDepth))
      refused(nested(LIMITS.maxDepth + 1), /nesting may be at most 32 deep, got more at byte 32/)
      refused('['.repeat(5_000_000), /nesting may be at most 32 deep/)
      refused('{"a":'.repeat(1_000_000), /nesting may be at most 32 deep/)
    },

    'objects, arrays and members are bounded; plain numbers are not': () => {
      refused(
        `[${new Array(100_000).fill('{}').join()}]`,
        /at most 100000 objects, arrays and members are accepted .*, got more at byte \d+/,
      )
      refused(`[${new Array(100_000).fill('[]').join()}]`, /at most 100000/)
      refused(`{${Array.from({ length: 100_000 }, (_, i) => `"${i}":0`).join()}}`, /at most 100000/)
      assert.equal((decode(`[${new Array(99_999).fill('[]').join()}]`) as []).length, 99_999)
      assert.equal((decode(`[${new Array(300_000).fill('1').join()}]`) as []).length, 300_000)
    },

    'values go there and back': () => {
      const value = { a: [1, 'é', null, true], n: { m: -0.5 }, t: Tensor.from('float32', [2, 1], [1.5, NaN]) }
      const read = decodeJson(encodeJson(value)) as typeof value
      assert.deepEqual([read.a, read.n], [value.a, value.n])
      assert.deepEqual([read.t.dtype, read.t.shape, [...read.t.data]], ['float32', [2, 1], [1.5, NaN]])
      assert.equal(decodeJson(encodeJson(undefined)), null)
    },

    'text with one byte changed gives a value or a refusal, and nothing else': () => {
      const random = seededRandom(3)
      const bytes = encodeUtf8(
        '{"a":[1,-2.5e3,{"b":"\\u00e9"}],"t":{"$tensor":"int8","shape":[2],"data":[1,2]},"é":null}',
      )
      let refusals = 0
      for (let i = 0; i < 5000; i++) {
        const changed = bytes.slice()
        changed[Math.floor(random() * bytes.length)] = Math.floor(random() * 256)
        try {
          decodeJson(changed)
        } catch (thrown) {
          if (!(thrown instanceof RpcError) || thrown.code !== 'invalid_argument') throw thrown
          refusals++
        }
      }
      assert.isAbove(refusals, 1000)
      for (let end = 0; end < bytes.length; end++) refusedBytes(bytes.subarray(0, end))
    },
  },
}

function decode(text: string): unknown {
  return decodeJson(encodeUtf8(text))
}

function refused(text: string, message: RegExp): void {
  assertRefused(() => decode(text), message)
}

function refusedBytes(bytes: Uint8Array): void {
  assertRefused(() => decodeJson(bytes), /^Cannot decode the message/)
}
