/** Element types: every ONNX type that onnxruntime-web takes as input, except the packed 4-bit ones. */
export const DTYPES = {
  bool: { bytes: 1, array: Uint8Array, oip: 'BOOL', onnx: 9 },
  uint8: { bytes: 1, array: Uint8Array, oip: 'UINT8', onnx: 2 },
  int8: { bytes: 1, array: Int8Array, oip: 'INT8', onnx: 3 },
  uint16: { bytes: 2, array: Uint16Array, oip: 'UINT16', onnx: 4 },
  int16: { bytes: 2, array: Int16Array, oip: 'INT16', onnx: 5 },
  float16: { bytes: 2, array: Float16Array, oip: 'FP16', onnx: 10 },
  uint32: { bytes: 4, array: Uint32Array, oip: 'UINT32', onnx: 12 },
  int32: { bytes: 4, array: Int32Array, oip: 'INT32', onnx: 6 },
  float32: { bytes: 4, array: Float32Array, oip: 'FP32', onnx: 1 },
  uint64: { bytes: 8, array: BigUint64Array, oip: 'UINT64', onnx: 13 },
  int64: { bytes: 8, array: BigInt64Array, oip: 'INT64', onnx: 7 },
  float64: { bytes: 8, array: Float64Array, oip: 'FP64', onnx: 11 },
  /** Variable length: each element is a 4-byte little-endian length and its UTF-8 bytes, as OIP's BYTES. */
  string: { bytes: 0, array: undefined, oip: 'BYTES', onnx: 8 },
} as const

export type DType = keyof typeof DTYPES
export type NumericDType = Exclude<DType, 'string'>

interface ArrayOf {
  bool: Uint8Array
  uint8: Uint8Array
  int8: Int8Array
  uint16: Uint16Array
  int16: Int16Array
  float16: Float16Array
  uint32: Uint32Array
  int32: Int32Array
  float32: Float32Array
  uint64: BigUint64Array
  int64: BigInt64Array
  float64: Float64Array
  string: string[]
}
/** The JavaScript array that holds elements of a dtype. */
export type DataOf<D extends DType> = ArrayOf[D]

export function isDType(value: unknown): value is DType {
  return typeof value === 'string' && Object.hasOwn(DTYPES, value)
}

export function dtypeOfOip(name: unknown): DType | undefined {
  return DTYPE_LIST.find((dtype) => DTYPES[dtype].oip === name)
}

export function dtypeOfOnnx(elementType: number): DType | undefined {
  return DTYPE_LIST.find((dtype) => DTYPES[dtype].onnx === elementType)
}

export const DTYPE_LIST = Object.keys(DTYPES) as readonly DType[]
