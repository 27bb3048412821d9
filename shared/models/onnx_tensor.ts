import { BinaryReader } from '@bufbuild/protobuf/wire'
import { concat, decodeUtf8 } from '../base/bytes.ts'
import { type DType, dtypeOfOnnx, DTYPES } from '../wire/dtype.ts'
import { invalid } from '../wire/errors.ts'
import { elementCount, Tensor } from '../wire/tensor.ts'
import { EXTERNAL, type MessageInit, OTHER_ELEMENT_TYPES, type TensorProto } from './onnx_schema.ts'

/**
 * The values of an initializer or attribute. Raw data, and packed 32- and 64-bit floats, stay views of the file.
 * @throws RpcError `invalid_argument` if the data lie in another file, have an unsupported type, or do not fit the dims
 */
export function fromTensorProto(proto: TensorProto): Tensor {
  const what = `tensor "${proto.name}"`
  if (proto.dataLocation === EXTERNAL || proto.externalData.length > 0) {
    throw invalid(`Cannot read the model: ${what} must hold its data, got a reference to another file`)
  }
  const dtype = dtypeOfOnnx(proto.dataType)
  if (!dtype) throw invalid(`Cannot read the model: ${what} has unsupported type ${elementTypeName(proto.dataType)}`)
  const count = elementCount(dtype, proto.dims)
  try {
    if (dtype === 'string') return Tensor.from(dtype, proto.dims, proto.stringData.map(decodeUtf8))
    return new Tensor(dtype, proto.dims, proto.rawData ?? typedData(proto, dtype, count))
  } catch (cause) {
    throw invalid(`Cannot read the model: ${what} must have ${count} ${dtype} values (shape [${proto.dims}])`, {
      cause,
    })
  }
}

/** The initializer of a tensor: its bytes are used in place. */
export function toTensorProto(name: string, tensor: Tensor): MessageInit<'TensorProto'> {
  const { dtype, shape: dims } = tensor
  const dataType = DTYPES[dtype].onnx
  if (dtype !== 'string') return { name, dims, dataType, rawData: tensor.bytes }
  const values = tensor.data as string[]
  return { name, dims, dataType, stringData: values.map((value) => new TextEncoder().encode(value)) }
}

export function elementTypeName(elementType: number): string {
  return dtypeOfOnnx(elementType) ?? OTHER_ELEMENT_TYPES[elementType] ?? `number ${elementType}`
}

/** The bytes of data that are stored by type instead of raw. Which field holds which type is ONNX's rule. */
function typedData(proto: TensorProto, dtype: DType, count: number): Uint8Array {
  if (dtype === 'float32') return concat(proto.floatData)
  if (dtype === 'float64') return concat(proto.doubleData)
  if (dtype === 'int64') return varints(concat(proto.int64Data), count, BigInt64Array)
  if (dtype === 'uint64') return varints(concat(proto.uint64Data), count, BigInt64Array)
  if (dtype === 'uint32') return varints(concat(proto.uint64Data), count, Uint32Array)
  // float16 is stored as its 16 bits.
  const { bytes } = DTYPES[dtype]
  return varints(concat(proto.int32Data), count, bytes === 1 ? Uint8Array : bytes === 2 ? Uint16Array : Uint32Array)
}

function varints(
  packed: Uint8Array,
  count: number,
  array: typeof BigInt64Array | typeof Uint8Array | typeof Uint16Array | typeof Uint32Array,
): Uint8Array {
  // Before allocating: the shape is a claim, the bytes are not, and a number takes at least one.
  if (count > packed.length) throw new Error(`the data end after ${packed.length} bytes`)
  const values = new array(count)
  const reader = new BinaryReader(packed)
  for (let i = 0; i < count; i++) {
    if (values instanceof BigInt64Array) values[i] = BigInt(reader.int64())
    else values[i] = reader.int32()
  }
  if (reader.pos !== packed.length) throw new Error('there are more values than the shape asks for')
  return new Uint8Array(values.buffer)
}
