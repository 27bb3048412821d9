import type { Bytes } from '../../../shared/base/bytes.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { type MessageInit, node, tensorInfo, toTensorProto } from '../../../shared/models/onnx.ts'
import type { AttributeValue } from '../../../shared/models/onnx_build.ts'
import { product, Tensor } from '../../../shared/wire/tensor.ts'
import { modelOf } from '../../fixtures/models.ts'
import type { Tensors } from './wasm.ts'

export type Float = 'float32' | 'float64'

/** A small model around one operator, with the inputs whose gradients are checked. */
export interface GradientCase {
  readonly title: string
  /** What it is computed in: float64 wherever the operator has such a kernel. */
  readonly dtype: Float
  readonly opset: number
  /** From the inputs to `y`. */
  readonly nodes: readonly MessageInit<'NodeProto'>[]
  /** Float inputs to differentiate by: initializers of the model. */
  readonly leaves: Tensors
  /** Constants. */
  readonly still: Tensors
  /** Inputs of the model, whole numbers: known only when it runs. */
  readonly data: Tensors
  /** Half the distance between the two points of a central difference. */
  readonly h: number
  /** The greatest difference that passes, relative to the greatest value of the gradient. */
  readonly tolerance: number
}

export interface CaseOptions {
  attributes?: Readonly<Record<string, AttributeValue>>
  /** Names of float inputs that are constants. */
  still?: readonly string[]
  /** Names of inputs that are fed. */
  data?: readonly string[]
  dtype?: Float
  opset?: number
  h?: number
  tolerance?: number
  title?: string
}

const EXACT = { float64: { h: 1e-5, tolerance: 1e-7 }, float32: { h: 1e-2, tolerance: 3e-3 } }

/** One operator on its inputs, in order; a key that starts with `_` is an input left out. */
export function op(opType: string, inputs: Tensors, options: CaseOptions = {}): GradientCase {
  const names = Object.keys(inputs).map((name) => name.startsWith('_') ? '' : name)
  const shapes = Object.entries(inputs).map(([name, { shape }]) => name.startsWith('_') ? '-' : `[${shape}]`).join(' ')
  const settings = Object.entries(options.attributes ?? {}).map(([name, value]) => `${name} ${show(value)}`)
  const title = [opType, shapes, ...settings, ...(options.opset ? [`opset ${options.opset}`] : [])].join(' ')
  return graph(options.title ?? title, [node(opType, names, ['y'], options.attributes)], inputs, options)
}

/** Several operators, the last of which gives `y`. */
export function graph(
  title: string,
  nodes: readonly MessageInit<'NodeProto'>[],
  inputs: Tensors,
  { still = [], data = [], dtype = 'float64', opset = 17, ...options }: CaseOptions = {},
): GradientCase {
  const given = Object.entries(inputs).filter(([name]) => !name.startsWith('_'))
  const typed = given.map(([name, tensor]) => [name, isFloat(tensor) ? convert(tensor, dtype) : tensor] as const)
  const sort = (wanted: string) =>
    Object.fromEntries(typed.filter(([name, tensor]) => {
      return wanted === (data.includes(name) ? 'data' : isFloat(tensor) && !still.includes(name) ? 'leaf' : 'still')
    }))
  const kinds = { leaves: sort('leaf'), still: sort('still'), data: sort('data') }
  return { title, dtype, opset, nodes, ...EXACT[dtype], ...options, ...kinds }
}

/** The case's model with its leaves as inputs, to be varied. What `y` is, ONNX Runtime finds out. */
export function modelToVary(one: GradientCase): Bytes {
  return modelOfCase(one, { ...one.leaves, ...one.data }, one.still, { name: 'y' })
}

/** The case's model with its leaves as parameters. */
export function modelToTrain(one: GradientCase, y: Tensor): Bytes {
  return modelOfCase(one, one.data, { ...one.leaves, ...one.still }, tensorInfo('y', y.dtype, y.shape))
}

function modelOfCase(
  { nodes, opset }: GradientCase,
  inputs: Tensors,
  initializers: Tensors,
  y: MessageInit<'ValueInfoProto'>,
): Bytes {
  return modelOf({
    node: nodes,
    input: Object.entries(inputs).map(([name, { dtype, shape }]) => tensorInfo(name, dtype, shape)),
    initializer: Object.entries(initializers).map(([name, tensor]) => toTensorProto(name, tensor)),
    output: [y],
  }, { opsetImport: [{ version: opset }] })
}

/** Numbers in [low, high), the same for the same seed. */
export function random(shape: readonly number[], { seed = 1, low = -1, high = 1 } = {}): Tensor<'float64'> {
  const next = seededRandom(seed * 7919 + product(shape) + 31 * shape.length)
  const values = Array.from({ length: product(shape) }, () => low + (high - low) * next())
  return Tensor.from('float64', shape, values)
}

/** Numbers at least `gap` apart and away from 0, in random order: nothing lies near a kink or a tie. */
export function distinct(shape: readonly number[], { seed = 1, gap = 0.25 } = {}): Tensor<'float64'> {
  const next = seededRandom(seed * 104729 + product(shape))
  const count = product(shape)
  const values = Array.from({ length: count }, (_, i) => (i - (count - 1) / 2 + (count % 2 ? 0.5 : 0)) * gap)
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1))
    ;[values[i], values[j]] = [values[j] ?? 0, values[i] ?? 0]
  }
  return Tensor.from('float64', shape, values)
}

export function ints(values: readonly number[], shape: readonly number[] = [values.length]): Tensor<'int64'> {
  return Tensor.from('int64', shape, values)
}

export function bools(shape: readonly number[], values: readonly number[]): Tensor<'bool'> {
  return Tensor.from('bool', shape, values)
}

function isFloat({ dtype }: Tensor): boolean {
  return dtype === 'float32' || dtype === 'float64'
}

function convert(tensor: Tensor, dtype: Float): Tensor {
  return Tensor.from(dtype, tensor.shape, Array.from(tensor.data as Float64Array))
}

function show(value: AttributeValue): string {
  return value instanceof Tensor ? 'tensor' : typeof value === 'object' ? JSON.stringify(value) : String(value)
}
