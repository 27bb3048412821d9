import type { Bytes } from '../base/bytes.ts'
import type { DType } from '../wire/dtype.ts'
import { invalid } from '../wire/errors.ts'
import { product, type Tensor } from '../wire/tensor.ts'
import { Builder } from './builder.ts'
import { differentiate } from './differentiate.ts'
import type { DropoutMask } from './dropout.ts'
import { GRADIENTS } from './gradients.ts'
import { scatterGather } from './gradients_layout.ts'
import { at } from './graph.ts'
import { addLoss, type LossName, lossOf, type LossSums } from './losses.ts'
import { lowerForward } from './lower.ts'
import { layOut, pack, type Parameter } from './parameters.ts'
import { type ForwardOptions, readForward } from './read_forward.ts'
import { type RunModel, type Sizes, traceShapes } from './trace_shapes.ts'
import { writeGraph } from './write_graph.ts'

export interface StepOptions extends Sizes, Omit<ForwardOptions, 'activation'> {
  /** The forward model, an ONNX file of opset 7 to 22 in float32. */
  model: Uint8Array
  loss: LossName
  /** Runs a model once, to find the shapes. Best on WASM, which has every operator: `runOn` makes one of an engine. */
  run: RunModel
  /**
   * 'exact' (the default) gives the same bits every time; 'fast' is for vocabularies of thousands, and on a GPU adds in
   * no fixed order.
   */
  embeddingGradient?: 'exact' | 'fast'
}

/** An input of a step graph. All are fed at each run; their sizes are fixed. */
export interface StepInput {
  readonly name: string
  /** int64 inputs of the forward model are int32 here. */
  readonly dtype: DType
  readonly shape: readonly number[]
  /** All parameters in one vector; the model's own input; what the loss compares with; Σ w counts samples; a mask. */
  readonly role: 'parameters' | 'data' | 'target' | 'weights' | 'dropout'
}

interface LossGraph {
  /** An ONNX file, opset 17, IR 8. Parameters are inputs, so it stays small. */
  readonly bytes: Bytes
  readonly batch: number
  readonly inputs: readonly StepInput[]
  readonly output: { readonly name: string; readonly length: number }
  readonly parameters: readonly Parameter[]
  readonly parameterCount: number
}

/** Forward and backward pass as one ordinary model. */
export interface StepGraph extends LossGraph {
  /** The parameters as they stand in the forward model. */
  readonly initial: Float32Array<ArrayBuffer>
  /** Masks to feed, made by `dropoutMasks`. */
  readonly dropout: readonly DropoutMask[]
}

const INPUT_TYPES: ReadonlySet<DType> = new Set(['float32', 'int32', 'int64', 'bool'])

/** Names of what the caller feeds beside the model's own inputs. */
const NAMES = { parameters: 'shoal.parameters', target: 'shoal.target', weights: 'shoal.weights' } as const

/**
 * Makes of a forward model the graph of one training step: parameters, a batch, its targets and weights in; one float32
 * vector out, which holds Σ w·∂loss/∂parameter (parameterCount values, in the layout's order), then Σ w·loss, then Σ w.
 * Sums, not means: those of several shards add up. A row of weight 0 adds exactly nothing.
 * @throws RpcError `invalid_argument`, naming node, operator and remedy, if the model cannot be trained exactly
 */
export async function buildStepGraph(options: StepOptions): Promise<StepGraph> {
  const { b, sums, layout, leaves, inputs, dropout, initial } = await translate(options, { dropout: true })
  const rules = options.embeddingGradient === 'fast' ? { ...GRADIENTS, Gather: scatterGather } : GRADIENTS
  const gradients = differentiate(b, sums.loss, leaves, rules)
  const output = { name: 'shoal.step', length: initial.length + 2 }
  const bytes = writeVector(b, output.name, [...gradients, sums.loss, sums.n])
  const { batch } = options
  return { bytes, batch, inputs, output, parameters: layout, parameterCount: initial.length, initial, dropout }
}

/**
 * The same without gradients or dropout: Σ w·loss, Σ w·correct (0 for a loss that knows no right or wrong) and Σ w.
 * @throws as `buildStepGraph`
 */
export async function buildEvaluationGraph(options: StepOptions): Promise<LossGraph> {
  const { b, sums, layout, inputs, initial } = await translate(options, { dropout: false })
  const output = { name: 'shoal.evaluation', length: 3 }
  const bytes = writeVector(b, output.name, [sums.loss, sums.correct ?? b.scalar(0, 'float32'), sums.n])
  return { bytes, batch: options.batch, inputs, output, parameters: layout, parameterCount: initial.length }
}

/** What a run of a step graph gave. */
export interface StepResult {
  /** Σ w·∂loss/∂parameter, a view. */
  readonly gradient: Float32Array
  /** Σ w·loss */
  readonly loss: number
  /** Σ w */
  readonly n: number
}

/** Takes a step graph's output apart. @throws RpcError `invalid_argument` if it is not float32 [parameterCount + 2] */
export function readStep(graph: Pick<StepGraph, 'parameterCount'>, output: Tensor): StepResult {
  const count = graph.parameterCount
  if (output.dtype !== 'float32' || output.size !== count + 2) {
    throw invalid(`Cannot read the step: it must be float32 [${count + 2}], got ${output.dtype} [${output.shape}]`)
  }
  const { data } = output as Tensor<'float32'>
  return { gradient: data.subarray(0, count), loss: at(data, count), n: at(data, count + 1) }
}

/** The forward model and its loss, in canonical nodes. */
async function translate(options: StepOptions, { dropout: drops }: { dropout: boolean }) {
  const loss = lossOf(options.loss)
  const { output, trainable } = options
  const forward = readForward(options.model, { output, trainable, activation: loss.activation })
  const layout = layOut(forward.parameters)
  for (const { name, dtype } of forward.inputs) {
    if (INPUT_TYPES.has(dtype)) continue
    throw invalid(`Cannot train the model: input "${name}" must be float32, int32, int64 or bool, got ${dtype}`)
  }
  const trace = await traceShapes(forward, options, options.run)

  const b = new Builder()
  const initial = pack(layout, forward.parameters)
  const flat = b.input(NAMES.parameters, 'float32', [initial.length])
  const inputs: StepInput[] = [{ name: flat, ...b.type(flat), role: 'parameters' }]
  const names = new Map<string, string>()
  for (const { name, dtype, shape } of trace.inputs) {
    names.set(name, b.input(name, dtype === 'int64' ? 'int32' : dtype, shape))
    inputs.push({ name, ...b.type(name), role: 'data' })
  }
  const leaves = b.split(flat, 0, layout.map(({ size }) => size)).map((part, i) => b.reshape(part, at(layout, i).shape))
  for (const [i, { name }] of layout.entries()) names.set(name, at(leaves, i))

  const dropout: DropoutMask[] = []
  const dropoutMask = (shape: readonly number[], ratio: number) => {
    const name = b.input(`shoal.dropout.${dropout.length}`, 'float32', shape)
    dropout.push({ name, shape, ratio })
    inputs.push({ name, ...b.type(name), role: 'dropout' })
    return name
  }
  lowerForward(forward.computed, {
    builder: b,
    trace,
    opset: forward.opset,
    names,
    ...(drops && { dropoutMask }),
  })
  const logits = names.get(forward.output) ?? ''
  checkBatch(b.shape(logits), options.batch)
  const sums: LossSums = addLoss(b, loss, logits, NAMES)
  for (const role of ['target', 'weights'] as const) {
    inputs.push({ name: NAMES[role], ...b.type(NAMES[role]), role })
  }
  return { b, sums, layout, leaves, inputs, dropout, initial }
}

function checkBatch([rows = 0, ...rest]: readonly number[], batch: number): void {
  if (rows > 0 && rows % batch === 0) return
  throw invalid(
    `Cannot train the model: axis 0 of its output must be the batch of ${batch} or a multiple, got [${[
      rows,
      ...rest,
    ]}]`,
  )
}

/** Everything in one vector: one read-back, and one blob on the wire. */
function writeVector(b: Builder, name: string, parts: readonly string[]): Bytes {
  const vector = b.concat(parts.map((part) => b.reshape(part, [product(b.shape(part))])), 0)
  return writeGraph(b, [{ name, value: vector }])
}
