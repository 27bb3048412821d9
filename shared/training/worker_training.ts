import type * as z from 'zod'
import { type Bytes, decodeUtf8, sha256Hex } from '../base/bytes.ts'
import { wordIssue } from '../base/schema_issue.ts'
import { type Fence, Training } from '../contracts/training.ts'
import type { Engine } from '../engine/engine.ts'
import { Mutex } from '../engine/mutex.ts'
import { untilAborted } from '../rpc/deadline.ts'
import { implement, type Implementation } from '../rpc/server.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import type { Tensor } from '../wire/tensor.ts'
import { DataRows, type DataSource } from './data_rows.ts'
import { type Plan, plan as planSchema } from './plan.ts'
import { ReduceTree } from './reduce_tree.ts'
import { RunFences } from './run_fences.ts'
import { ShardFeeds } from './shard_feeds.ts'
import { packSum } from './wire_format.ts'

export interface WorkerTrainingDeps {
  engine: Engine
  /** Plans, graphs and data, by hash or URL. */
  source: DataSource
}

type ReduceInput = z.infer<typeof Training.methods.reduce.input>
type ReduceOutput = z.infer<typeof Training.methods.reduce.output>

/** Plans kept at hand: a run has two, for training and for evaluation. */
const MAX_PLANS = 16

/** A worker's part in training: fetches plan, graph and rows by itself, and computes sums over shards. */
export function workerTraining({ engine, source }: WorkerTrainingDeps): Implementation {
  const fences = new RunFences()
  const plans = new Plans(engine, source)
  const feeds = new ShardFeeds(new DataRows(source))
  const residuals = new Residuals()
  const arrivals = new Arrivals()
  const device = new Mutex()

  const compute = async (
    { fence, plan: sha256, attempt, dataStep, from, to, format, length }: Omit<ReduceInput, 'values'>,
    parameters: Tensor,
    signal: AbortSignal,
  ): Promise<ReduceOutput> => {
    const plan = await untilAborted(plans.get(sha256), signal)
    checkShards(plan, { from, to, length }, parameters)
    const tree = new ReduceTree({ from, to }, length)
    feeds.called({ plan: sha256, dataStep, shard: from })
    for (let shard = from; shard < to; shard++) {
      const place = { plan: sha256, dataStep, shard }
      feeds.forgetBefore(place)
      const inputs = await feeds.take(place, plan, signal)
      inputs[plan.parameters.name] = parameters
      const outputs = await device.run(() => {
        // What is no longer wanted must not hold up the device.
        signal.throwIfAborted()
        const running = plans.run(sha256, plan, inputs)
        if (shard === to - 1) feeds.prepareNextStep(plan)
        return running
      })
      const output = outputs[plan.output.name]
      if (output?.dtype !== 'float32') throw invalid('Cannot compute the shards: the graph must give float32')
      tree.add({ from: shard, to: shard + 1, sum: (output as Tensor<'float32'>).data }, true)
    }
    const { sum } = tree
    if (!sum) throw new RpcError('internal', 'Cannot compute the shards: their sum is not complete')
    const residual = format === 'int8' ? residuals.of(fence, from, length) : undefined
    return { fence, attempt, dataStep, from, to, sum: packSum(format, sum, residual), workers: 1 }
  }

  return implement(Training, {
    async reduce(input, { signal }) {
      const { fence, values: sent } = input
      if (!sent) {
        await arrivals.of(fence)
        return await compute(input, fences.admit(fence, undefined), signal)
      }
      // The device begins while the hash is computed; nothing is answered, and no other call begins, before it is right.
      const checked = arrivals.during(
        fence,
        () => checkHash(sent, fence).catch((thrown) => fences.reject(fence, thrown)),
      )
      // Also where the call is refused before anyone waits for it.
      checked.catch(() => {})
      const [computed, hash] = await Promise.allSettled([compute(input, fences.admit(fence, sent), signal), checked])
      if (hash.status === 'rejected') throw hash.reason
      if (computed.status === 'rejected') throw computed.reason
      return computed.value
    },
  })
}

/** Parameters on their way: the call that follows theirs waits until they are here. */
class Arrivals {
  readonly #under = new Map<string, Promise<void>>()

  async during({ run, parameters }: Fence, arrive: () => Promise<void>): Promise<void> {
    const key = `${run} ${parameters}`
    const arriving = arrive()
    this.#under.set(key, arriving)
    try {
      await arriving
    } finally {
      if (this.#under.get(key) === arriving) this.#under.delete(key)
    }
  }

  /** Whether they were what they should be is for the call that brought them. */
  async of({ run, parameters }: Fence): Promise<void> {
    await this.#under.get(`${run} ${parameters}`)?.catch(() => {})
  }
}

async function checkHash(values: Tensor, { parameters }: Fence): Promise<void> {
  const actual = await sha256Hex(values.bytes)
  if (actual === parameters) return
  throw new RpcError(
    'data_loss',
    `Cannot compute the shards: parameters must have SHA-256 ${parameters}, got ${actual}`,
  )
}

function checkShards(
  { order, output, parameters: { shape, name } }: Plan,
  { from, to, length }: { from: number; to: number; length: number },
  parameters: Tensor,
): void {
  if (from >= to || to > order.shards) {
    throw invalid(`Cannot compute shards ${from} to ${to}: the plan has ${order.shards}`)
  }
  if (length !== output.length) {
    throw invalid(`Cannot compute the shards: the plan's sums have ${output.length} values, ${length} were asked for`)
  }
  const isWhole = parameters.dtype === 'float32' && parameters.shape.length === 1 && parameters.shape[0] === shape[0]
  if (!isWhole) {
    throw invalid(
      `Cannot compute the shards: "${name}" must be float32 [${shape}], got ${parameters.dtype} [${parameters.shape}]`,
    )
  }
}

/** Plans that were fetched, with their graphs loaded. */
class Plans {
  readonly #engine: Engine
  readonly #source: DataSource
  /** In order of use. */
  readonly #plans = new Map<string, Promise<Plan>>()
  readonly #loads = new Map<string, Promise<unknown>>()

  constructor(engine: Engine, source: DataSource) {
    this.#engine = engine
    this.#source = source
  }

  get(sha256: string): Promise<Plan> {
    const known = this.#plans.get(sha256) ?? this.#fetch(sha256)
    this.#plans.delete(sha256)
    this.#plans.set(sha256, known)
    known.catch(() => this.#plans.get(sha256) === known && this.#plans.delete(sha256))
    if (this.#plans.size > MAX_PLANS) this.#dropOldest()
    return known
  }

  /** Runs a plan's graph, loading it if need be: the engine may have been restarted since, and starts empty. */
  async run(sha256: string, plan: Plan, inputs: Record<string, Tensor>): Promise<Record<string, Tensor>> {
    await this.#load(plan.graph)
    try {
      return (await this.#engine.run(plan.graph, inputs)).outputs
    } catch (thrown) {
      if (!(thrown instanceof RpcError) || thrown.code !== 'not_found') throw thrown
      this.#loads.delete(plan.graph)
      await this.get(sha256)
      await this.#load(plan.graph)
      return (await this.#engine.run(plan.graph, inputs)).outputs
    }
  }

  /** Not tied to the call that asked first: others wait for the same bytes. */
  async #fetch(sha256: string): Promise<Plan> {
    const bytes = await this.#source.blob(sha256, NEVER)
    const parsed = planSchema.safeParse(parseJson(bytes))
    if (parsed.success) return parsed.data
    throw invalid(`Cannot read the plan: ${wordIssue(parsed.error.issues[0])}`)
  }

  #load(graph: string): Promise<unknown> {
    let load = this.#loads.get(graph)
    if (!load) {
      load = this.#source.blob(graph, NEVER).then((bytes) => this.#engine.load(graph, bytes, TRUSTED))
      this.#loads.set(graph, load)
      load.catch(() => this.#loads.get(graph) === load && this.#loads.delete(graph))
    }
    return load
  }

  #dropOldest(): void {
    const [oldest] = this.#plans
    if (!oldest) return
    const [sha256, plan] = oldest
    this.#plans.delete(sha256)
    void plan.then(({ graph }) => {
      this.#loads.delete(graph)
      return this.#engine.unload(graph)
    }).catch(() => {})
  }
}

/** Fetches that others wait for end with their own time-outs. */
const NEVER = new AbortController().signal
/** Step graphs are written around the faults that the engine looks for. */
const TRUSTED = { trusted: true }

function parseJson(bytes: Bytes): unknown {
  try {
    return JSON.parse(decodeUtf8(bytes))
  } catch (cause) {
    throw invalid('Cannot read the plan: it must be JSON', { cause })
  }
}

/** What int8 rounded off, by shard: only that of the step before counts, and only the newest run's is kept. */
class Residuals {
  readonly #slots = new Map<number, { step: number; values: Float32Array }>()
  #key = ''

  of({ run, epoch, step }: Fence, slot: number, length: number): Float32Array {
    const key = `${epoch} ${run}`
    if (key !== this.#key) this.#slots.clear()
    this.#key = key
    const known = this.#slots.get(slot)
    const values = known && known.step === step - 1 && known.values.length === length - 2
      ? known.values
      : new Float32Array(length - 2)
    this.#slots.set(slot, { step, values })
    return values
  }
}
