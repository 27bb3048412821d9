import { LIMITS } from '../base/limits.ts'
import type { Link, LinkedList } from '../base/linked_list.ts'
import type { WorkerLimits } from '../contracts/fields.ts'
import type { ModelRef } from '../contracts/pool.ts'
import type { Tensor } from '../wire/tensor.ts'
import { shortageOf } from './capacity.ts'
import { Pace } from './pace.ts'
import type { Run } from './run.ts'

/** A worker as the pool sees it: over a relay's socket, or an engine in the same process. */
export interface PoolWorker {
  readonly id: string
  readonly name: string
  readonly device: string
  /** A stranger's: it is given public models alone. */
  readonly volunteer?: boolean
  /** Computes on a real GPU: of workers that are idle, those go first. A GPU beats WebAssembly even while it warms up. */
  readonly accelerated?: boolean
  /** How fast it is compared with others, by the same measure for all: what is expected of it before it has run anything. */
  readonly weight?: number
  /** What fits it: models that need more are not given to it. */
  readonly limits?: WorkerLimits
  /** The same for as long as it lives, however often it joins. Its id by default. */
  readonly life?: string
  /** Models that it computed wrong, as was found before, and what. */
  readonly barred?: Readonly<Record<string, string>>
  /** Hears of a further one: it is given no more calls of that model. */
  onBarred?(model: string, reason: string): void
  /**
   * Runs calls of one model, in order. Rejects with `unavailable` if the worker is lost or cannot work for a while.
   * When the signal aborts, its outcome is ignored.
   */
  run(model: ModelRef, calls: readonly { inputs: Record<string, Tensor> }[], signal: AbortSignal): Promise<WorkerReply>
}

export interface WorkerReply {
  calls: readonly { outputs: Record<string, Tensor> }[]
  timings: { loadMs: number; waitMs: number; runMs: number }
}

/** A worker's place in the pool: what it holds, and whether it may be given more. */
export class Seat {
  readonly worker: PoolWorker
  /** Models known to be loaded, by hash, the longest known first. */
  readonly models: Set<string>
  /** How long runs of models take here, by hash. */
  readonly paces = new Map<string, Pace>()
  /** Models that it computes wrong, by hash, and what it was found out by: it is given no calls of them. */
  readonly barred = new Map<string, string>()
  /** Sent and not yet answered, in order: the first computes, the second waits on the wire. */
  readonly runs: Run[] = []
  /** When its first run began, as far as can be told from here. */
  computingSinceMs = 0
  /** How much of its usual speed it offers now. */
  share = 1
  draining = false
  served = 0
  /** Failures as a whole since its last success. */
  failures = 0
  /** Number of the last-sent run that it has answered. */
  lastAnswered = -1
  /** False after a run was taken back from it, until it answers one: it is slow, and would only hold up the next. */
  prefetches = true
  /** Where it stands among the seats that may be given a run; undefined if it may not. */
  place: { list: LinkedList<Seat>; link: Link<Seat> } | undefined
  readonly #onIdle: (() => void)[] = []
  #cancelRest: (() => void) | undefined

  constructor(worker: PoolWorker, models: Iterable<string>) {
    this.worker = worker
    this.models = new Set(models)
    for (const model in worker.barred) this.barred.set(model, worker.barred[model] ?? '')
  }

  /** Whether it takes runs, now or when it has finished some. */
  get open(): boolean {
    return !this.draining && !this.resting
  }

  get resting(): boolean {
    return this.#cancelRest !== undefined
  }

  /** @param cancel stops the timer that calls `wake` */
  rest(cancel: () => void): void {
    this.#cancelRest?.()
    this.#cancelRest = cancel
  }

  wake(): void {
    this.#cancelRest?.()
    this.#cancelRest = undefined
  }

  /** Resolves when nothing is in flight. */
  idle(): Promise<void> {
    return this.runs.length === 0 ? Promise.resolve() : new Promise((resolve) => this.#onIdle.push(resolve))
  }

  take(run: Run, nowMs: number): void {
    if (this.runs.push(run) === 1) this.computingSinceMs = nowMs
  }

  release(run: Run, nowMs: number): void {
    const index = this.runs.indexOf(run)
    if (index >= 0) this.runs.splice(index, 1)
    if (index === 0) this.computingSinceMs = nowMs
    if (this.runs.length === 0) { for (const done of this.#onIdle.splice(0)) done() }
  }

  /** Notes how long a run has taken, without loading. */
  measured(model: string, rows: number, ms: number): void {
    let pace = this.paces.get(model)
    if (!pace) this.paces.set(model, pace = new Pace())
    pace.note(rows, ms)
  }

  /** A model was unloaded there. */
  forget(model: string): void {
    this.models.delete(model)
    this.paces.delete(model)
  }

  /** Notes a run answered well. */
  answered(run: Run): void {
    if (!run.isCheck) this.served += run.calls.length
    this.failures = 0
    this.prefetches = true
    this.lastAnswered = Math.max(this.lastAnswered, run.number)
    const model = run.calls[0]?.model.sha256
    if (model === undefined || this.models.has(model)) return
    this.models.add(model)
    const [longest] = this.models
    if (this.models.size > LIMITS.maxLoadedModels && longest !== undefined) this.forget(longest)
  }
}

/** Volunteers see a model's weights and what it is asked; and not every model fits every worker. */
export function mayRun({ worker, barred }: Seat, model: ModelRef | undefined): boolean {
  if (model === undefined) return true
  if (barred.size > 0 && barred.has(model.sha256)) return false
  return (!worker.volunteer || model.public === true) && shortageOf(worker.limits, model) === undefined
}
