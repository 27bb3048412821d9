import { encodeUtf8 } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import type { WireFormat } from '../contracts/training.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import type { DataOrder } from './data_order.ts'
import { type Dataset, matchFeeds, type PutBlob, splitRows } from './dataset.ts'
import type { DropoutMask } from './dropout.ts'
import type { LossName } from './losses.ts'
import type { Parameter } from './parameters.ts'
import type { Plan } from './plan.ts'
import { buildEvaluationGraph, buildStepGraph, type StepInput, type StepOptions } from './step_graph.ts'

/** What decides the weights that come out, but for the optimizer. */
export interface RunSettings {
  readonly loss: LossName
  /** Rows per step, divided evenly over the shards. */
  readonly batch: number
  readonly shards: number
  readonly seed: number
  readonly format: WireFormat
  /** Rows at the end of the data that are only validated on. */
  readonly validationRows: number
}

/** A plan that workers can fetch by its hash. */
export interface PublishedPlan {
  readonly sha256: string
  readonly order: DataOrder
  /** Values in each sum. */
  readonly length: number
}

export interface PreparedRun {
  readonly settings: RunSettings
  readonly training: PublishedPlan
  /** Undefined without validation rows. */
  readonly validation: PublishedPlan | undefined
  readonly layout: readonly Parameter[]
  readonly initial: Float32Array<ArrayBuffer>
}

/** The graph of a shard, its plan and the plan of the validation, all published as blobs. */
export async function prepareRun(
  model: Pick<StepOptions, 'model' | 'run' | 'output' | 'axes' | 'embeddingGradient'>,
  dataset: Dataset,
  settings: RunSettings,
  put: PutBlob,
): Promise<PreparedRun> {
  const { batch, shards, loss, seed } = settings
  if (shards < 1 || shards > LIMITS.maxShards || batch % shards !== 0) {
    throw invalid(
      `Cannot train: the batch must divide evenly over 1 to ${LIMITS.maxShards} shards, got ${batch} over ${shards}`,
    )
  }
  const shardRows = batch / shards
  const options = { ...model, loss, batch: shardRows }
  const split = splitRows(dataset.files, settings.validationRows)
  const graph = await buildStepGraph(options)
  checkSize(graph.parameterCount)
  const common = { shardRows, shards, seed }
  const training = await publish(
    graph,
    graph.dropout,
    dataset,
    0,
    { ...common, rows: split.train, shuffled: true },
    put,
  )
  const validation = split.validation === 0 ? undefined : await publish(
    await buildEvaluationGraph(options),
    [],
    dataset,
    split.train,
    // As much as goes into one step: one sum of loss, right answers and weights.
    {
      ...common,
      rows: split.validation,
      shards: Math.min(LIMITS.maxShards, Math.ceil(split.validation / shardRows)),
      shuffled: false,
    },
    put,
  )
  return { settings, training, validation, layout: graph.parameters, initial: graph.initial }
}

interface Graph {
  readonly bytes: Uint8Array
  readonly inputs: readonly StepInput[]
  readonly output: { readonly name: string; readonly length: number }
}

async function publish(
  graph: Graph,
  dropout: readonly DropoutMask[],
  dataset: Dataset,
  firstRow: number,
  order: DataOrder,
  put: PutBlob,
): Promise<PublishedPlan> {
  const plan: Plan = {
    graph: await put(graph.bytes),
    parameters: inputOf(graph, 'parameters'),
    weights: inputOf(graph, 'weights'),
    feeds: matchFeeds(dataset, graph.inputs),
    dropout: dropout.map(({ name, shape, ratio }) => ({ name, shape: [...shape], ratio })),
    output: { ...graph.output },
    order: { ...order },
    firstRow,
    files: [...dataset.files],
  }
  return { sha256: await put(encodeUtf8(JSON.stringify(plan))), order, length: graph.output.length }
}

function inputOf({ inputs }: Graph, role: StepInput['role']): Plan['weights'] {
  const found = inputs.find((input) => input.role === role)
  if (!found) throw new RpcError('internal', `Cannot train: the step graph must have an input for its ${role}`)
  return { name: found.name, dtype: found.dtype, shape: [...found.shape] }
}

/** Parameters and sums travel in one message each. */
function checkSize(parameters: number): void {
  const most = (LIMITS.maxTrainingBytes - LIMITS.maxHeaderBytes) / 4
  if (parameters <= most) return
  throw invalid(`Cannot train the model: it may have ${most} parameters, got ${parameters}`)
}
