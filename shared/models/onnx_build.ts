import { encodeUtf8 } from '../base/bytes.ts'
import { type DType, DTYPES } from '../wire/dtype.ts'
import { invalid } from '../wire/errors.ts'
import { Tensor } from '../wire/tensor.ts'
import { ATTRIBUTE_TYPE, type AttributeProto, type MessageInit, type NodeProto } from './onnx_schema.ts'
import { toTensorProto } from './onnx_tensor.ts'

/** A whole number is an INT and a list of them INTS; write floats as `{ float: 1 }` or `{ floats: [1, 2] }`. */
export type AttributeValue =
  | number
  | bigint
  | readonly number[]
  | string
  | Tensor
  | { float: number }
  | { floats: readonly number[] }
  | { graph: MessageInit<'GraphProto'> }

/** A node: `node('Gemm', ['x', 'w', 'b'], ['y'], { transB: 1, alpha: { float: 0.5 } })`. An input of '' is left out. */
export function node(
  opType: string,
  input: readonly string[],
  output: readonly string[],
  attributes: Readonly<Record<string, AttributeValue>> = {},
): MessageInit<'NodeProto'> {
  return {
    opType,
    input,
    output,
    name: output[0] ?? '',
    attribute: Object.entries(attributes).map(([name, value]) => attributeOf(name, value)),
  }
}

function attributeOf(name: string, value: AttributeValue): MessageInit<'AttributeProto'> {
  const { int, ints, float, floats, string, tensor, graph } = ATTRIBUTE_TYPE
  if (typeof value === 'number' || typeof value === 'bigint') return { name, type: int, i: wholeNumber(name, value) }
  if (typeof value === 'string') return { name, type: string, s: encodeUtf8(value) }
  if (value instanceof Tensor) return { name, type: tensor, t: toTensorProto('', value) }
  if ('float' in value) return { name, type: float, f: value.float }
  if ('floats' in value) return { name, type: floats, floats: value.floats }
  if ('graph' in value) return { name, type: graph, g: value.graph }
  return { name, type: ints, ints: value.map((element) => wholeNumber(name, element)) }
}

function wholeNumber(name: string, value: number | bigint): bigint {
  if (typeof value === 'number' && !Number.isInteger(value)) {
    throw invalid(
      `Cannot write attribute "${name}": a plain number must be whole, got ${value} (use { float: ${value} })`,
    )
  }
  return BigInt(value)
}

/** A graph's input, output or inner value. A dimension is a size, a name, or '' for free and unnamed. */
export function tensorInfo(
  name: string,
  dtype: DType,
  shape: readonly (number | string)[],
): MessageInit<'ValueInfoProto'> {
  const dim = shape.map((size) => typeof size === 'number' ? { dimValue: size } : size === '' ? {} : { dimParam: size })
  return { name, type: { tensorType: { elemType: DTYPES[dtype].onnx, shape: { dim } } } }
}

interface AttributeReaders {
  /** Beyond ±2^53 the nearest number: such values only ever mean "to the end". */
  int: (attribute: AttributeProto) => number
  ints: (attribute: AttributeProto) => readonly number[]
  float: (attribute: AttributeProto) => number
  floats: (attribute: AttributeProto) => readonly number[]
  string: (attribute: AttributeProto) => string
}
const READERS: AttributeReaders = {
  int: (attribute) => Number(attribute.i ?? 0n),
  ints: (attribute) => attribute.ints.map(Number),
  float: (attribute) => attribute.f ?? 0,
  floats: (attribute) => attribute.floats,
  string: (attribute) => new TextDecoder().decode(attribute.s),
}

/**
 * A node's attribute as a plain value, or `otherwise` if the node does not have it.
 * @throws RpcError `invalid_argument` if it has it with another type
 */
export function attribute<K extends keyof AttributeReaders, T>(
  of: NodeProto,
  name: string,
  kind: K,
  otherwise: T,
): ReturnType<AttributeReaders[K]> | T {
  const found = of.attribute.find((candidate) => candidate.name === name)
  if (!found) return otherwise
  if (found.type !== ATTRIBUTE_TYPE[kind]) {
    throw invalid(
      `Cannot read node "${of.name}" (${of.opType}): attribute "${name}" must be of type ${
        ATTRIBUTE_TYPE[kind]
      } (${kind}), got type ${found.type}`,
    )
  }
  return READERS[kind](found) as ReturnType<AttributeReaders[K]>
}
