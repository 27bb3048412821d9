import { assert } from 'chai'
import { DTYPE_LIST, dtypeOfOip, dtypeOfOnnx, DTYPES, isDType } from '../../../shared/wire/dtype.ts'
import type { Suite } from '../../suite.ts'

export const dtypeSuite: Suite = {
  name: 'dtypes',
  cases: {
    'each dtype is found again by its OIP name and its ONNX number': () => {
      for (const dtype of DTYPE_LIST) {
        assert.equal(dtypeOfOip(DTYPES[dtype].oip), dtype)
        assert.equal(dtypeOfOnnx(DTYPES[dtype].onnx), dtype)
      }
    },

    'numbers are those of onnx.proto': () => {
      // TensorProto.DataType of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
      const onnx = { float32: 1, uint8: 2, int8: 3, uint16: 4, int16: 5, int32: 6, int64: 7, string: 8, bool: 9 }
      const more = { float16: 10, float64: 11, uint32: 12, uint64: 13 }
      assert.deepEqual<Record<string, number>>(
        Object.fromEntries(DTYPE_LIST.map((dtype) => [dtype, DTYPES[dtype].onnx])),
        { ...onnx, ...more },
      )
    },

    'sizes are those of the typed arrays': () => {
      for (const dtype of DTYPE_LIST) {
        const { bytes, array } = DTYPES[dtype]
        assert.equal(array?.BYTES_PER_ELEMENT ?? 0, bytes, dtype)
      }
    },

    'names that only look like dtypes are refused': () => {
      for (const name of ['Float32', '', 'toString', '__proto__', 'constructor', 1, null, undefined]) {
        assert.isFalse(isDType(name), String(name))
      }
      for (const name of ['fp32', 'toString', undefined]) assert.isUndefined(dtypeOfOip(name))
      for (const number of [0, 14, 16, -1, NaN]) assert.isUndefined(dtypeOfOnnx(number))
    },
  },
}
