import { assert } from 'chai'
import { LIMITS } from '../../../shared/base/limits.ts'
import { type DType, DTYPE_LIST, DTYPES } from '../../../shared/wire/dtype.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { elementCount, fromJsonValues, Tensor, toJsonValues } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'

/** Values at and next to the ends of each dtype, in the form that `data` gives them back. */
const EDGES: Record<DType, readonly (number | bigint | string)[]> = {
  bool: [0, 1],
  uint8: [0, 1, 255],
  int8: [-128, -1, 127],
  uint16: [0, 256, 65535],
  int16: [-32768, -1, 32767],
  // 6.1e-5 and 5.96e-8: the smallest normal and subnormal of binary16.
  float16: [0, -0, 1.5, 65504, -65504, 2 ** -14, 2 ** -24, NaN, Infinity, -Infinity],
  uint32: [0, 2 ** 31, 2 ** 32 - 1],
  int32: [-(2 ** 31), -1, 2 ** 31 - 1],
  float32: [0, -0, 0.5, (2 - 2 ** -23) * 2 ** 127, 2 ** -149, NaN, Infinity, -Infinity],
  uint64: [0n, 2n ** 53n + 1n, 2n ** 64n - 1n],
  int64: [-(2n ** 63n), -1n, 2n ** 53n + 1n, 2n ** 63n - 1n],
  float64: [0, -0, 0.1, Number.MAX_VALUE, Number.MIN_VALUE, NaN, Infinity, -Infinity],
  string: ['', 'sea', 'Ünïcode 🐟', '\u0000', '\ufeffbom'],
}

const roundTrips: Suite['cases'] = {}
for (const dtype of DTYPE_LIST) {
  roundTrips[`${dtype} goes through from, data, toJSON and fromJsonValues unchanged`] = () => {
    const values = EDGES[dtype]
    const tensor = Tensor.from(dtype, [values.length], values)
    assert.deepEqual([...tensor.data], [...values])
    if (dtype !== 'string') assert.equal(tensor.bytes.byteLength, values.length * DTYPES[dtype].bytes)

    const json = JSON.parse(JSON.stringify(tensor))
    assert.equal(json.$tensor, dtype)
    const read = fromJsonValues(json.$tensor, json.shape, json.data)
    // JSON.stringify writes -0 as 0: its sign is the one thing that JSON does not carry.
    assert.deepEqual([...read.data], values.map((value) => value === 0 ? 0 : value))

    const received = new Tensor(dtype, tensor.shape, tensor.bytes)
    assert.deepEqual([...received.data], [...values])
  }
}

export const tensorSuite: Suite = {
  name: 'tensors',
  cases: {
    ...roundTrips,

    'bytes are little-endian and row-major': () => {
      assert.deepEqual([...Tensor.from('uint32', [2], [1, 0x01020304]).bytes], [1, 0, 0, 0, 4, 3, 2, 1])
      assert.deepEqual([...fromJsonValues('uint8', [2, 3], [[1, 2, 3], [4, 5, 6]]).bytes], [1, 2, 3, 4, 5, 6])
      assert.deepEqual([...Tensor.from('string', [2], ['é', '']).bytes], [2, 0, 0, 0, 0xc3, 0xa9, 0, 0, 0, 0])
    },

    'aligned bytes are viewed, misaligned ones copied': () => {
      for (const dtype of ['float16', 'float32', 'int64', 'float64'] as const) {
        const size = DTYPES[dtype].bytes
        const values = EDGES[dtype].slice(0, 2)
        const sent = Tensor.from(dtype, [2], values).bytes
        const buffer = new ArrayBuffer(4 * size)

        const aligned = new Uint8Array(buffer, size, 2 * size)
        aligned.set(sent)
        const view = new Tensor(dtype, [2], aligned)
        assert.strictEqual(view.bytes, aligned)
        assert.strictEqual(view.data.buffer, buffer, `${dtype} aligned`)

        const misaligned = new Uint8Array(buffer, size - 1, 2 * size)
        misaligned.set(sent)
        const copy = new Tensor(dtype, [2], misaligned).data
        assert.notStrictEqual(copy.buffer, buffer, `${dtype} misaligned`)
        assert.deepEqual([...copy], [...values])
      }
    },

    'a view of a larger buffer gives its own elements only': () => {
      const all = Float32Array.of(9, 1, 2, 9)
      const tensor = Tensor.from('float32', [2], all.subarray(1, 3))
      assert.strictEqual(tensor.bytes.buffer, all.buffer)
      assert.deepEqual([...tensor.data], [1, 2])
    },

    'a typed array of another dtype is converted, and checked': () => {
      assert.deepEqual([...Tensor.from('float32', [2], Float64Array.of(1, 2.5)).data], [1, 2.5])
      assert.deepEqual([...Tensor.from('int64', [1], Int32Array.of(-7)).data], [-7n])
      refuses(() => Tensor.from('uint8', [1], Int32Array.of(256)), 'element 0', '0 to 255', 'got 256')
    },

    'nested JSON arrays follow the shape': () => {
      const nested = [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
      assert.deepEqual([...fromJsonValues('int32', [2, 2, 2], nested).data], [1, 2, 3, 4, 5, 6, 7, 8])
      assert.deepEqual([...fromJsonValues('string', [2, 1], [['a'], ['b']]).data], ['a', 'b'])
      assert.deepEqual([...fromJsonValues('int32', [2, 2], [1, 2, 3, 4]).data], [1, 2, 3, 4])
      assert.equal(fromJsonValues('int32', [2, 0], [[], []]).size, 0)
      refuses(() => fromJsonValues('int32', [2, 2], [[1, 2], [3]]), '[2,2]', 'got 1 entries', 'axis 1')
      refuses(() => fromJsonValues('int32', [2, 2], [[1, 2], 3]), '[2,2]', 'got number', 'axis 1')
      refuses(() => fromJsonValues('int32', [2], [[1], [2]]), 'element 0', 'a whole number', 'got [1]')
      refuses(() => fromJsonValues('int32', [4], [[1, 2], [3, 4]]), '[4]', 'got 2 entries', 'axis 0')
    },

    'scalars and empty tensors have sizes 1 and 0': () => {
      assert.equal(Tensor.from('float32', [], [3]).size, 1)
      assert.deepEqual([...fromJsonValues('float32', [], [3]).data], [3])
      assert.equal(Tensor.from('float32', [0, 3], []).size, 0)
      assert.equal(new Tensor('string', [0], new Uint8Array(0)).size, 0)
      assert.equal(elementCount('float32', [2 ** 53 - 1, 2 ** 53 - 1, 0]), 0)
    },

    '64-bit integers are numbers up to 2^53 and strings beyond': () => {
      const values = [2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n) - 1n]
      const expected = [9007199254740991, '9007199254740992', '9007199254740993', '-9007199254740993']
      assert.deepEqual(toJsonValues(Tensor.from('int64', [4], values)), expected)
      assert.deepEqual([...fromJsonValues('int64', [4], expected).data], values)
      assert.deepEqual([...fromJsonValues('uint64', [1], ['18446744073709551615']).data], [2n ** 64n - 1n])
    },

    'NaN and infinities have names in JSON': () => {
      assert.deepEqual(toJsonValues(Tensor.from('float32', [3], [NaN, Infinity, -Infinity])), [
        'NaN',
        'Infinity',
        '-Infinity',
      ])
      refuses(() => fromJsonValues('float32', [1], ['nan']), 'a number that float32 can hold', 'got "nan"')
      refuses(() => fromJsonValues('float32', [1], ['1']), 'a number that float32 can hold', 'got "1"')
    },

    'values out of range are refused, not wrapped': () => {
      for (const [dtype, value, range] of OUT_OF_RANGE) {
        refuses(() => Tensor.from(dtype, [2], [0, value]), 'element 1', range, `got ${value}`)
      }
      // The largest doubles that still round to a finite float16 and float32.
      assert.deepEqual([...Tensor.from('float16', [1], [65519]).data], [65504])
      assert.isTrue(Number.isFinite(Tensor.from('float32', [1], [3.4028235e38]).data[0]))
    },

    'fractional values are refused by integers': () => {
      for (const dtype of ['uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32'] as const) {
        refuses(() => Tensor.from(dtype, [1], [0.5]), 'element 0', 'a whole number', 'got 0.5')
        refuses(() => Tensor.from(dtype, [1], [NaN]), 'element 0', 'a whole number', 'got NaN')
      }
      for (const dtype of ['int64', 'uint64'] as const) {
        refuses(() => Tensor.from(dtype, [1], [0.5]), `an exact ${dtype}`, 'got 0.5')
        refuses(() => Tensor.from(dtype, [1], [2 ** 53]), `an exact ${dtype}`, 'got 9007199254740992')
        refuses(() => Tensor.from(dtype, [1], ['1.0']), `an exact ${dtype}`, 'got "1.0"')
        refuses(() => Tensor.from(dtype, [1], ['']), `an exact ${dtype}`, 'got ""')
      }
    },

    'values of the wrong type are refused': () => {
      const wrong: [DType, unknown, string][] = [
        ['float32', null, 'got null'],
        ['float32', true, 'got true'],
        ['float32', 1n, 'got 1'],
        ['float32', undefined, 'got undefined'],
        ['int32', '1', 'got "1"'],
        ['int32', 1n, 'got 1'],
        ['int32', { valueOf: 1n }, 'got object'],
        ['bool', 2, 'got 2'],
        ['bool', 'true', 'got "true"'],
        ['int64', true, 'got true'],
        ['string', 5, 'got 5'],
        ['string', null, 'got null'],
      ]
      for (const [dtype, value, got] of wrong) {
        refuses(() => fromJsonValues(dtype, [1], [value]), 'element 0 must be', got)
      }
      for (const data of ['1', { length: 1, 0: 1 }, null, undefined, 1]) {
        refuses(() => fromJsonValues('float32', [1], data), 'data must be an array')
      }
    },

    'a string that UTF-8 cannot hold is refused, not replaced': () => {
      refuses(() => Tensor.from('string', [1], ['\ud800']), 'element 0', 'valid Unicode')
    },

    'bad shapes are refused': () => {
      const bad = [[-1], [1.5], [NaN], [Infinity], [2 ** 53], ['2'], [null], [1n], [[1]]] as unknown as number[][]
      for (const shape of bad) {
        refuses(() => elementCount('float32', shape), 'each size must be a whole number from 0 up', 'got [')
        refuses(() => Tensor.from('float32', shape, [1]), 'each size must be a whole number from 0 up')
        refuses(() => fromJsonValues('float32', shape, [[1]]), 'each size must be a whole number from 0 up')
        refuses(() => new Tensor('float32', shape, new Uint8Array(4)), 'each size must be a whole number from 0 up')
      }
      for (const shape of [null, undefined, 4, '22', { length: 1 }] as unknown as number[][]) {
        refuses(() => fromJsonValues('float32', shape, [[1]]), `a list of at most ${LIMITS.maxRank} sizes`)
      }
      refuses(() => elementCount('float32', new Array(17).fill(1)), `at most ${LIMITS.maxRank} sizes`)
      refuses(() => elementCount('float32', [2 ** 30, 2 ** 30]), 'at most 2^53 - 1 elements')
    },

    'unknown dtypes are refused': () => {
      for (const dtype of ['float', 'toString', '', null, undefined, 1] as unknown as DType[]) {
        refuses(() => Tensor.from(dtype, [1], [1]), 'dtype must be one of bool, uint8')
        refuses(() => fromJsonValues(dtype, [1], [1]), 'dtype must be one of bool, uint8')
        refuses(() => new Tensor(dtype, [1], new Uint8Array(4)), 'dtype must be one of bool, uint8')
      }
    },

    'bytes and elements must be as many as the shape says': () => {
      refuses(() => new Tensor('float32', [2, 2], new Uint8Array(12)), '[2,2] must have 16 bytes', 'got 12')
      refuses(() => new Tensor('float32', [2 ** 50], new Uint8Array(4)), `must have ${2 ** 52} bytes`, 'got 4')
      refuses(() => Tensor.from('float32', [2, 2], [1, 2, 3]), '[2,2] must have 4 elements', 'got 3')
      refuses(() => Tensor.from('float32', [2], Float32Array.of(1)), '[2] must have 2 elements', 'got 1')
      refuses(() => fromJsonValues('string', [2], ['a']), '[2] must have 2 elements', 'got 1')
    },

    'broken string tensors are refused': () => {
      const broken: [number, number[], string][] = [
        [1, [], 'shape asks for 1 elements, got 0'],
        [0, [0, 0, 0, 0], 'shape asks for 0 elements, got 1'],
        [1, [0, 0, 0, 0, 0, 0, 0, 0], 'shape asks for 1 elements, got 2'],
        [1, [1, 0, 0], 'a length runs past the end of its bytes, got 3 bytes of a length'],
        [1, [2, 0, 0, 0, 65], 'got a length of 2 with 1 bytes left'],
        [1, [255, 255, 255, 255, 65], 'a length runs past the end'],
        [2, [1, 0, 0, 0, 65, 1, 0, 0, 0, 255], 'element 1 must be valid UTF-8, got bytes that are not'],
        [1, [3, 0, 0, 0, 0xed, 0xa0, 0x80], 'element 0 must be valid UTF-8'],
      ]
      for (const [count, bytes, message] of broken) {
        refuses(() => new Tensor('string', [count], Uint8Array.from(bytes)), message)
      }
    },

    'messages stay short and never fail on what they show': () => {
      let deep: unknown = []
      for (let i = 0; i < 100_000; i++) deep = [deep]
      for (const value of [deep, 'x'.repeat(100_000), new Array(100_000).fill(1), { toJSON: 1 }, 10n ** 1000n]) {
        const error = refuses(() => fromJsonValues('int32', [1], ['', value].slice(1)), '')
        assert.isBelow(error.message.length, 200)
      }
    },
  },
}

const OUT_OF_RANGE: [DType, number | bigint | string, string][] = [
  ['uint8', 256, '0 to 255'],
  ['uint8', -1, '0 to 255'],
  ['int8', 128, '-128 to 127'],
  ['uint16', 65536, '0 to 65535'],
  ['int16', -32769, '-32768 to 32767'],
  ['uint32', 2 ** 32, '0 to 4294967295'],
  ['int32', 2 ** 31, '-2147483648 to 2147483647'],
  ['uint64', -1, 'an exact uint64'],
  ['uint64', 2n ** 64n, 'an exact uint64'],
  ['int64', 2n ** 63n, 'an exact int64'],
  ['float16', 65520, 'a number that float16 can hold'],
  ['float32', 1e39, 'a number that float32 can hold'],
]

/** Runs `action`, which must throw the refusal of bad input with every one of `parts` in its message. */
function refuses(action: () => unknown, ...parts: string[]): RpcError {
  try {
    action()
  } catch (error) {
    assert.instanceOf(error, RpcError)
    const refusal = error as RpcError
    assert.equal(refusal.code, 'invalid_argument')
    assert.match(refusal.message, /^Cannot (make|read) a (string )?tensor: /)
    for (const part of parts) assert.include(refusal.message, part)
    return refusal
  }
  return assert.fail(`expected a refusal with ${parts.join(', ')}`)
}
