import { dtypeOfOnnx, DTYPES } from '../wire/dtype.ts'
import { decode, fullBudget } from './onnx_codec.ts'
import type { GraphProto, ModelProto, NodeProto, TensorProto } from './onnx_schema.ts'

/** What a pool must know of a model beyond what it takes and gives. */
export interface ModelTraits {
  /** Of its weights. A device that has no buffer of that size cannot hold the model. */
  largestTensorBytes: number
  /** The same inputs give the same outputs, on any worker. */
  deterministic: boolean
}

/** Operators that draw numbers. Of Microsoft's: the one that samples tokens. */
const DRAWING: ReadonlySet<string> = new Set([
  'RandomNormal',
  'RandomNormalLike',
  'RandomUniform',
  'RandomUniformLike',
  'Multinomial',
  'Bernoulli',
  'Sampling',
])
/** Reads them out of the graph, its subgraphs and its functions. Weights' values are not looked at: a lean model will do. */
export function readTraits(model: ModelProto): ModelTraits {
  const budget = fullBudget()
  const functions = model.functions.map((bytes) => decode('FunctionProto', bytes, budget))
  const traits: ModelTraits = { largestTensorBytes: 0, deterministic: true }
  const addGraph = ({ initializer, node }: GraphProto) => {
    for (const tensor of initializer) {
      traits.largestTensorBytes = Math.max(traits.largestTensorBytes, bytesOf(tensor))
    }
    addNodes(node)
  }
  const addNodes = (nodes: readonly NodeProto[]) => {
    for (const node of nodes) {
      if (draws(node)) traits.deterministic = false
      for (const { g, graphs } of node.attribute) for (const graph of [g, ...graphs]) if (graph) addGraph(graph)
    }
  }
  if (model.graph) addGraph(model.graph)
  for (const { node } of functions) addNodes(node)
  return traits
}

/** A Dropout drops only where its third input, `training_mode`, is given; before opset 12 it had none and dropped nothing. */
function draws({ opType, input }: NodeProto): boolean {
  return DRAWING.has(opType) || (opType === 'Dropout' && (input[2] ?? '') !== '')
}

/** What its shape says, which may be more than any number counts. */
function bytesOf({ dims, dataType }: TensorProto): number {
  const dtype = dtypeOfOnnx(dataType)
  const bits = dtype ? 8 * DTYPES[dtype].bytes : OTHER_BITS[dataType] ?? 8
  const count = dims.reduce((size, dim) => size * Math.max(0, dim), 1)
  return Math.min(Math.ceil(count * bits / 8), Number.MAX_SAFE_INTEGER)
}

/** Of element types without a dtype of ours, where they have not a byte: complex, bfloat16, and those packed into bytes. */
const OTHER_BITS: Readonly<Record<number, number>> = { 14: 64, 15: 128, 16: 16, 21: 4, 22: 4, 23: 4, 25: 2, 26: 2 }
