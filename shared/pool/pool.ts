import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../base/limits.ts'
import type { Metrics } from '../base/metrics.ts'
import type { ModelRef } from '../contracts/pool.ts'
import { abortError } from '../rpc/deadline.ts'
import { RpcError } from '../wire/errors.ts'
import type { Tensor } from '../wire/tensor.ts'
import { batchKeyOf, rowsOf } from './batch_key.ts'
import { CallQueue, type PoolCall, type PoolResult, type Priority } from './call_queue.ts'

/** A worker as the pool sees it: over a relay's socket, or an engine in the same process. */
export interface PoolWorker {
  readonly id: string
  readonly name: string
  readonly device: string
  /** Runs calls of one model, in order. Rejects with `unavailable` if the worker is lost. */
  run(model: ModelRef, calls: readonly { inputs: Record<string, Tensor> }[], signal: AbortSignal): Promise<WorkerReply>
}

export interface WorkerReply {
  calls: readonly { outputs: Record<string, Tensor> }[]
  timings: { loadMs: number; waitMs: number; runMs: number }
}

interface Seat {
  worker: PoolWorker
  /** Models known to be loaded, by hash. */
  models: Set<string>
  /** Runs sent and not yet answered: one computes, one waits on the wire. */
  inFlight: number
  draining: boolean
  served: number
  onIdle: (() => void)[]
}

export interface PoolDeps {
  clock: Clock
  metrics: Metrics
}

export interface PoolRequest {
  model: ModelRef
  inputs: Record<string, Tensor>
  priority: Priority
  signal: AbortSignal
}

/** One run computes while the next one's bytes are already there: a device never waits for the wire. */
const RUNS_PER_WORKER = 2
/** A call that took this many workers with it is not tried on another. */
const MAX_LOST = 3

/**
 * One queue per model, bound late to whichever worker is free. Calls that wait are joined into one run; a call whose
 * worker vanishes goes to another. Ref: NVIDIA Triton's dynamic batcher, with no artificial delay.
 */
export class Pool {
  readonly #deps: PoolDeps
  readonly #queues = new Map<string, CallQueue>()
  readonly #seats = new Map<string, Seat>()

  constructor(deps: PoolDeps) {
    this.#deps = deps
    deps.metrics.gauge('shoal_pool_queued_calls', () => this.queued)
    deps.metrics.gauge('shoal_pool_workers', () => this.#seats.size)
  }

  get queued(): number {
    let total = 0
    for (const queue of this.#queues.values()) total += queue.length
    return total
  }

  get size(): number {
    return this.#seats.size
  }

  add(worker: PoolWorker, models: Iterable<string> = []): void {
    this.#seats.set(worker.id, { worker, models: new Set(models), inFlight: 0, draining: false, served: 0, onIdle: [] })
    this.#dispatch()
  }

  /** Forgets a worker. Its runs reject by themselves, and their calls go to others. */
  remove(id: string): void {
    this.#seats.delete(id)
    if (this.#usable().length === 0) this.#failWaiting()
  }

  /** Gives a worker nothing more; resolves when its last run is answered. */
  drain(id: string): Promise<void> {
    const seat = this.#seats.get(id)
    if (!seat) return Promise.resolve()
    seat.draining = true
    if (this.#usable().length === 0) this.#failWaiting()
    return seat.inFlight === 0 ? Promise.resolve() : new Promise((resolve) => seat.onIdle.push(resolve))
  }

  describe(id: string): { inFlight: number; served: number; draining: boolean; models: string[] } | undefined {
    const seat = this.#seats.get(id)
    return seat && { inFlight: seat.inFlight, served: seat.served, draining: seat.draining, models: [...seat.models] }
  }

  /**
   * Runs one call on some worker.
   * @throws RpcError `resource_exhausted` when the model's queue is full, `unavailable` when there is no worker,
   * `deadline_exceeded` or `canceled` as the signal says, or what the worker answered
   */
  run(request: PoolRequest): Promise<PoolResult> {
    return new Promise((resolve, reject) => {
      if (request.signal.aborted) return reject(abortError(request.signal.reason))
      if (this.#usable().length === 0) return reject(noWorkers())
      const queue = this.#queueOf(request.model)
      const bytes = bytesOf(request.inputs)
      if (queue.length >= LIMITS.maxQueuedCalls || queue.bytes + bytes > LIMITS.maxQueuedBytes) {
        this.#deps.metrics.count('shoal_pool_calls_shed_total')
        return reject(
          new RpcError(
            'resource_exhausted',
            `Cannot queue the call: ${queue.length} calls wait for this model already`,
            { retryAfterMs: 1000, neverSent: true },
          ),
        )
      }
      const onAbort = () => this.#onAbort(call)
      const settle = () => request.signal.removeEventListener('abort', onAbort)
      const call: PoolCall = {
        ...request,
        bytes,
        rows: rowsOf(request.inputs),
        batchKey: request.model.batchable ? batchKeyOf(request.inputs) : undefined,
        submittedAtMs: this.#deps.clock.now(),
        lost: 0,
        resolve: (result) => (settle(), resolve(result)),
        reject: (error) => (settle(), reject(error)),
      }
      request.signal.addEventListener('abort', onAbort, { once: true })
      queue.push(call)
      this.#dispatch()
    })
  }

  #queueOf(model: ModelRef): CallQueue {
    let queue = this.#queues.get(model.sha256)
    if (!queue) this.#queues.set(model.sha256, queue = new CallQueue())
    return queue
  }

  #usable(): Seat[] {
    return [...this.#seats.values()].filter((seat) => !seat.draining)
  }

  /** A caller has gone: a waiting call leaves its queue at once, a running one is dropped when all of its run have gone. */
  #onAbort(call: PoolCall): void {
    const queued = this.#queueOf(call.model).remove(call)
    this.#deps.metrics.count('shoal_pool_calls_dropped_total', { state: queued ? 'queued' : 'running' })
    call.reject(abortError(call.signal.reason))
  }

  #dispatch(): void {
    for (;;) {
      const next = this.#next()
      if (!next) return
      const { queue, seat } = next
      const batch = queue.takeBatch(LIMITS.maxBatch)
      if (batch.length === 0) return
      void this.#runOn(seat, batch)
    }
  }

  /** The call that has waited longest, with the best worker for it: idle before busy, model loaded before not. */
  #next(): { queue: CallQueue; seat: Seat } | undefined {
    let oldest: { queue: CallQueue; head: PoolCall } | undefined
    for (const [model, queue] of this.#queues) {
      const head = queue.peek()
      if (!head) this.#queues.delete(model)
      else if (!oldest || before(head, oldest.head)) oldest = { queue, head }
    }
    if (!oldest) return undefined
    let best: Seat | undefined
    let bestCost = Infinity
    for (const seat of this.#seats.values()) {
      if (seat.draining || seat.inFlight >= RUNS_PER_WORKER) continue
      const cost = seat.inFlight * 2 + (seat.models.has(oldest.head.model.sha256) ? 0 : 1)
      if (cost < bestCost) [best, bestCost] = [seat, cost]
    }
    return best && { queue: oldest.queue, seat: best }
  }

  async #runOn(seat: Seat, batch: PoolCall[]): Promise<void> {
    const [first] = batch
    if (!first) return
    const startedAtMs = this.#deps.clock.now()
    seat.inFlight++
    this.#deps.metrics.count('shoal_pool_runs_total', { device: seat.worker.device })
    const all = allAborted(batch.map((call) => call.signal))
    try {
      const reply = await seat.worker.run(first.model, batch.map(({ inputs }) => ({ inputs })), all.signal)
      if (reply.calls.length !== batch.length) {
        throw new RpcError(
          'internal',
          `Cannot use the worker's answer: expected ${batch.length} results, got ${reply.calls.length}`,
        )
      }
      seat.models.add(first.model.sha256)
      seat.served += batch.length
      const workerMs = this.#deps.clock.now() - startedAtMs
      for (const [i, call] of batch.entries()) {
        call.resolve({
          outputs: reply.calls[i]?.outputs ?? {},
          worker: seat.worker,
          timings: { ...reply.timings, queueMs: startedAtMs - call.submittedAtMs, workerMs, batch: batch.length },
        })
      }
    } catch (thrown) {
      this.#onFailure(batch, RpcError.from(thrown))
    } finally {
      all.release()
      seat.inFlight--
      if (seat.inFlight === 0) { for (const done of seat.onIdle.splice(0)) done() }
      this.#dispatch()
    }
  }

  #onFailure(batch: readonly PoolCall[], error: RpcError): void {
    const waiting = batch.filter((call) => !call.signal.aborted)
    const [first] = waiting
    if (!first) return
    if (error.code === 'unavailable') {
      this.#deps.metrics.count('shoal_pool_calls_requeued_total', undefined, waiting.length)
      for (const call of waiting) call.lost++
      const [again, given] = partition(waiting, (call) => call.lost < MAX_LOST)
      for (const call of given) call.reject(error)
      if (this.#usable().length === 0) { for (const call of again) call.reject(noWorkers()) }
      else this.#queueOf(first.model).putBack(again)
    } else if (batch.length > 1) {
      // One bad call must not fail those it happened to travel with: each is tried by itself.
      for (const call of waiting) call.batchKey = undefined
      this.#queueOf(first.model).putBack(waiting)
    } else first.reject(error)
  }

  #failWaiting(): void {
    for (const queue of this.#queues.values()) {
      for (let batch = queue.takeBatch(Infinity); batch.length > 0; batch = queue.takeBatch(Infinity)) {
        for (const call of batch) call.reject(noWorkers())
      }
    }
  }
}

function noWorkers(): RpcError {
  return new RpcError('unavailable', 'Cannot run the model: no worker is connected', {
    retryAfterMs: 1000,
    neverSent: true,
  })
}

function before(left: PoolCall, right: PoolCall): boolean {
  if (left.priority !== right.priority) return left.priority === 'high'
  return left.submittedAtMs < right.submittedAtMs
}

function bytesOf(inputs: Record<string, Tensor>): number {
  let total = 0
  for (const tensor of Object.values(inputs)) total += tensor.bytes.byteLength
  return total
}

function partition<T>(items: readonly T[], test: (item: T) => boolean): [T[], T[]] {
  return [items.filter(test), items.filter((item) => !test(item))]
}

/** A signal that aborts once every one of `signals` has. */
function allAborted(signals: readonly AbortSignal[]): { signal: AbortSignal; release: () => void } {
  const [only] = signals
  if (signals.length === 1 && only) return { signal: only, release() {} }
  const controller = new AbortController()
  const onAbort = () => {
    if (signals.every((signal) => signal.aborted)) controller.abort(signals[0]?.reason)
  }
  for (const signal of signals) signal.addEventListener('abort', onAbort)
  return {
    signal: controller.signal,
    release: () => {
      for (const signal of signals) signal.removeEventListener('abort', onAbort)
    },
  }
}
