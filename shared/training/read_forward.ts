import { attribute, type GraphProto, type NodeProto, readModel } from '../models/onnx.ts'
import { fromTensorProto } from '../models/onnx_tensor.ts'
import { readSignature } from '../models/signature.ts'
import { invalid } from '../wire/errors.ts'
import type { TensorSpec } from '../wire/signature.ts'
import type { Tensor } from '../wire/tensor.ts'
import { isFloat } from './builder.ts'
import { at } from './graph.ts'
import { originOf, refusal } from './refusal.ts'
import { checkSupport } from './support.ts'

/** Oldest with today's broadcasting; newest whose operators write_graph.ts knows how to write at opset 17. */
const MIN_OPSET = 7
const MAX_OPSET = 22

export interface ForwardOptions {
  /** The output to train on; may be left out if there is one. Any inner value may be named. */
  output?: string
  /**
   * Which float initializers are parameters. Left out: those with at least one axis whose values are all finite (a mask
   * of −∞ is none); scalars, and what stands in Constant nodes, stay as they are. Exporters write some constants as
   * initializers, and parameters of equal values as one, so look at the layout of what is to be trained.
   */
  trainable?: (name: string, values: Tensor) => boolean
  /** An activation that the loss contains: where the output comes from it, the model is read up to what goes into it. */
  activation?: 'Softmax' | 'Sigmoid'
}

/** A forward model, sorted into what trains, what is fixed once the batch is, and what is computed. */
export interface Forward {
  readonly graph: GraphProto
  readonly irVersion: number
  readonly opset: number
  readonly inputs: readonly TensorSpec[]
  readonly output: string
  /** Every node that the output needs, in order. */
  readonly needed: readonly NodeProto[]
  /** Those of them that depend on data or parameters: the ones to differentiate. */
  readonly computed: readonly NodeProto[]
  /** Parameters that the output depends on, in the file's order, with their initial values. */
  readonly parameters: ReadonlyMap<string, Tensor>
  /** Initializers that are no parameters. */
  readonly constants: ReadonlyMap<string, Tensor>
  /** Names of values that depend on neither data nor parameters, only on sizes. */
  readonly fixed: ReadonlySet<string>
}

/**
 * Reads a forward model for training.
 * @throws RpcError `invalid_argument`, before anything runs, naming node, operator and remedy if it cannot be trained
 */
export function readForward(bytes: Uint8Array, options: ForwardOptions = {}): Forward {
  const { signature, opset } = readSignature(bytes)
  if (opset < MIN_OPSET || opset > MAX_OPSET) {
    throw invalid(
      `Cannot train the model: its opset must be from ${MIN_OPSET} to ${MAX_OPSET}, got ${opset} (export it with opset_version=17 to 21)`,
    )
  }
  const { graph, irVersion } = readModel(bytes)
  const end = options.output ?? onlyOutput(signature.outputs)
  const last = graph.node.find((node) => node.output.includes(end))
  const rank = signature.outputs.find(({ name }) => name === end)?.shape.length
  const output = (last && beforeActivation(last, options.activation, opset, rank)) ?? end
  const needed = ancestors(graph.node, output)
  const { parameters, constants } = sortInitializers(
    graph,
    gradientsReach(needed, output),
    options.trainable ?? isParameter,
  )
  if (parameters.size === 0) {
    throw invalid(
      `Cannot train the model: output "${output}" must depend on a float32 initializer with at least one axis, got none`,
    )
  }
  const fixed = fixedValues(needed, constants)
  const computed = needed.filter((node) => !node.output.some((name) => fixed.has(name)))
  checkSupport(computed, opset)
  const used = new Set(needed.flatMap((node) => node.input))
  const inputs = signature.inputs.filter(({ name }) => used.has(name))
  return { graph, irVersion, opset, inputs, output, needed, computed, parameters, constants, fixed }
}

function onlyOutput(outputs: readonly TensorSpec[]): string {
  if (outputs.length === 1) return at(outputs, 0).name
  const names = outputs.map(({ name }) => `"${name}"`).join(', ')
  throw invalid(`Cannot train the model: the output to train on must be named where there are several, got ${names}`)
}

/** What goes into the activation that a model ends in, if it does. @throws RpcError if that sees other classes than the loss */
function beforeActivation(last: NodeProto, activation: string | undefined, opset: number, rank = NaN) {
  if (last.opType !== activation) return undefined
  const axis = attribute(last, 'axis', 'int', opset >= 13 ? -1 : 1)
  if (activation !== 'Softmax' || axis === -1 || axis === rank - 1) return last.input[0]
  throw refusal(originOf(last), 'be over the last axis', `axis ${axis}`, 'move the classes to the end with a Transpose')
}

function isParameter(_name: string, values: Tensor): boolean {
  return values.shape.length > 0 && values.size > 0 && (values.data as Float32Array).every(Number.isFinite)
}

/** Inputs that are settings of an operator, whatever their type; a running mean is not learned by gradients. */
const SETTINGS: Readonly<Record<string, readonly number[]>> = {
  BatchNormalization: [3, 4],
  Clip: [1, 2],
  Dropout: [1],
  Pad: [2],
}

function sortInitializers(
  graph: GraphProto,
  reached: ReadonlySet<string>,
  trainable: (name: string, values: Tensor) => boolean,
) {
  const settings = new Set(graph.node.flatMap((node) => (SETTINGS[node.opType] ?? []).map((i) => node.input[i])))
  const parameters = new Map<string, Tensor>()
  const constants = new Map<string, Tensor>()
  for (const proto of graph.initializer) {
    const { name } = proto
    const values = fromTensorProto(proto)
    const isReached = reached.has(name) && !settings.has(name)
    if (isReached && values.dtype === 'float16') {
      throw invalid(`Cannot train the model: initializer "${name}" must be float32, got float16 (export it in float32)`)
    }
    const learns = isReached && isFloat(values.dtype) && trainable(name, values)
    ;(learns ? parameters : constants).set(name, values)
  }
  return { parameters, constants }
}

/** The nodes that `output` needs, in the graph's order, which is topological. */
function ancestors(nodes: readonly NodeProto[], output: string): NodeProto[] {
  const wanted = new Set([output])
  const kept: NodeProto[] = []
  for (const node of [...nodes].reverse()) {
    if (!node.output.some((name) => name !== '' && wanted.has(name))) continue
    for (const name of node.input) wanted.add(name)
    kept.unshift(node)
  }
  return kept
}

/** Whatever changes a little before these leaves what comes after them as it was. */
const STEPS = /^(Equal|Less|LessOrEqual|Greater|GreaterOrEqual|And|Or|Xor|Not|IsNaN|Floor|Ceil|Round|Sign|Shape|Size)$/

/** Names of values that a gradient of `output` reaches. What lies before a comparison, as a mask does, is not learned. */
function gradientsReach(nodes: readonly NodeProto[], output: string): Set<string> {
  const reached = new Set([output])
  for (const node of [...nodes].reverse()) {
    if (STEPS.test(node.opType) || !node.output.some((name) => reached.has(name))) continue
    for (const name of node.input) reached.add(name)
  }
  return reached
}

/** Their values are theirs alone: never the same twice. */
const RANDOM = /^(Random|Bernoulli$|Multinomial$)/
/** Sizes are known as soon as the batch is. */
const SIZE_OF = new Set(['Shape', 'Size'])

function fixedValues(nodes: readonly NodeProto[], constants: ReadonlyMap<string, Tensor>): Set<string> {
  const fixed = new Set(['', ...constants.keys()])
  for (const node of nodes) {
    if (RANDOM.test(node.opType) || node.attribute.some(({ g }) => g !== undefined)) continue
    if (!SIZE_OF.has(node.opType) && !node.input.every((name) => fixed.has(name))) continue
    for (const name of node.output) fixed.add(name)
  }
  return fixed
}
