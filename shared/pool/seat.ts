import { LIMITS } from '../base/limits.ts'
import { type Link, LinkedList } from '../base/linked_list.ts'
import type { ModelRef } from '../contracts/pool.ts'
import type { Tensor } from '../wire/tensor.ts'
import { Pace } from './pace.ts'
import type { PoolCall } from './pool_call.ts'

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

/** Calls that one worker computes together. */
export interface Run {
  /** Order of sending, over all workers. */
  readonly number: number
  readonly calls: readonly PoolCall[]
  /** Of all calls together. */
  readonly rows: number
  readonly seat: Seat
  /** Ends the run on its worker. */
  readonly cancel: AbortController
  /** Calls whose callers still wait. */
  live: number
  /** Answered, failed or taken back: what its worker still says of it is ignored. */
  over: boolean
  /** True if its worker vanished before it can have begun: it is not what took the worker down. */
  spared: boolean
  /** Its place among the runs that wait behind another. */
  behind: Link<Run> | undefined
}

/** A worker's place in the pool: what it holds, and whether it may be given more. */
export class Seat {
  readonly worker: PoolWorker
  /** Models known to be loaded, by hash, the longest known first. */
  readonly models: Set<string>
  /** How long runs of models take here, by hash. */
  readonly paces = new Map<string, Pace>()
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
    this.served += run.calls.length
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

/** All seats, and those among them that may be given a run right now. */
export class SeatBook {
  readonly #seats = new Map<string, Seat>()
  /** Nothing in flight; the longest idle first. Those with a real GPU apart. */
  readonly #idleGpus = new LinkedList<Seat>()
  readonly #idle = new LinkedList<Seat>()
  /** One run computing, room for the next; the longest computing first. */
  readonly #computing = new LinkedList<Seat>()
  /** Runs that wait behind another, in the order they were sent. */
  readonly #behind = new LinkedList<Run>()
  /** Seats that may be given a run, the best first: idle ones with a real GPU, other idle ones, those with room for one more. */
  readonly groups: readonly LinkedList<Seat>[] = [this.#idleGpus, this.#idle, this.#computing]
  /** Seats that are not draining, and those of them that may be given any model. */
  usable = 0
  trusted = 0

  get size(): number {
    return this.#seats.size
  }

  /** Seats with nothing to do. */
  get idle(): number {
    return this.#idleGpus.size + this.#idle.size
  }

  get(id: string): Seat | undefined {
    return this.#seats.get(id)
  }

  add(seat: Seat): void {
    this.remove(seat.worker.id)
    this.#seats.set(seat.worker.id, seat)
    this.#count(seat, 1)
    this.#place(seat)
  }

  remove(id: string): Seat | undefined {
    const seat = this.#seats.get(id)
    if (!seat) return undefined
    this.#seats.delete(id)
    if (!seat.draining) this.#count(seat, -1)
    seat.wake()
    this.#place(seat)
    for (const run of seat.runs.slice(1)) {
      run.spared = true
      this.#forward(run)
    }
    return seat
  }

  drain(seat: Seat): void {
    if (seat.draining) return
    seat.draining = true
    this.#count(seat, -1)
    this.#place(seat)
  }

  report(seat: Seat, models: readonly string[], share: number): void {
    const loaded = new Set(models)
    for (const model of seat.models) if (!loaded.has(model)) seat.forget(model)
    for (const model of models) seat.models.add(model)
    seat.share = share
    this.#place(seat)
  }

  /** Keeps a seat out of the choice until `wake`. */
  rest(seat: Seat, cancel: () => void): void {
    seat.rest(cancel)
    this.#place(seat)
  }

  wake(seat: Seat): void {
    seat.wake()
    this.#place(seat)
  }

  take(seat: Seat, run: Run, nowMs: number): void {
    seat.take(run, nowMs)
    if (seat.runs.length > 1) run.behind = this.#behind.add(run)
    this.#place(seat)
  }

  release(run: Run, nowMs: number): void {
    run.over = true
    const { seat } = run
    seat.release(run, nowMs)
    this.#forward(run)
    const [first] = seat.runs
    if (first) this.#forward(first)
    this.#place(seat)
  }

  /** Whether any seat may be given a run. */
  get available(): boolean {
    return this.#idleGpus.size + this.#idle.size + this.#computing.size > 0
  }

  /** All seats, those included that take nothing now. */
  get all(): Iterable<Seat> {
    return this.#seats.values()
  }

  /** The longest-sent run that waits behind another. */
  get waitingRun(): Run | undefined {
    return this.#behind.first
  }

  /**
   * The longest-sent run that waits behind another and that `seat` would start sooner: `seat` is idle, or has answered
   * a run that was sent later.
   */
  overdue(seat: Seat): Run | undefined {
    for (const run of this.#behind) {
      if (run.seat !== seat && mayRun(seat, run.calls[0]?.model)) {
        return seat.runs.length === 0 || run.number < seat.lastAnswered ? run : undefined
      }
    }
    return undefined
  }

  #count({ worker }: Seat, by: 1 | -1): void {
    this.usable += by
    if (!worker.volunteer) this.trusted += by
  }

  /** Nothing is before the run on its worker any more. */
  #forward(run: Run): void {
    if (run.behind) this.#behind.remove(run.behind)
    run.behind = undefined
  }

  #place(seat: Seat): void {
    const list = this.#listOf(seat)
    if (seat.place?.list === list) return
    seat.place?.list.remove(seat.place.link)
    seat.place = list && { list, link: list.add(seat) }
  }

  #listOf(seat: Seat): LinkedList<Seat> | undefined {
    if (seat.draining || seat.resting || this.#seats.get(seat.worker.id) !== seat) return undefined
    if (seat.runs.length === 0) return seat.worker.accelerated ? this.#idleGpus : this.#idle
    return seat.runs.length === 1 && seat.prefetches && seat.share === 1 ? this.#computing : undefined
  }
}

/** Volunteers see a model's weights and what it is asked. */
export function mayRun({ worker }: Seat, model: ModelRef | undefined): boolean {
  return !worker.volunteer || model === undefined || model.public === true
}
