import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { Log } from '../base/log.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Random } from '../base/random.ts'
import type { WorkerLimits } from '../contracts/fields.ts'
import type { ModelRef } from '../contracts/pool.ts'
import { abortError } from '../rpc/deadline.ts'
import { RpcError } from '../wire/errors.ts'
import { leastShort } from './capacity.ts'
import { type Backlog, choose, isSooner } from './choice.ts'
import { ModelPaces } from './pace.ts'
import { before, PoolCall, type PoolRequest, type PoolResult } from './pool_call.ts'
import { noWorkers, tooSmall } from './refusal.ts'
import type { Run } from './run.ts'
import { Runs } from './runs.ts'
import { type PoolWorker, Seat } from './seat.ts'
import { SeatBook } from './seat_book.ts'
import { SpotChecks, type SpotChecksDeps } from './spot_check.ts'
import { Waiting } from './waiting.ts'

export type { PoolRequest, PoolResult, Priority } from './pool_call.ts'
export type { PoolWorker, WorkerReply } from './seat.ts'

export interface PoolDeps {
  clock: Clock
  metrics: Metrics
  /** Spreads retries in time. Math.random by default. */
  random?: Random
  /**
   * Puts a task off until the messages that are already here have been read (setImmediate, where there is one), so that
   * calls which arrived together share a run. No time passes; without it each call is dispatched as it comes.
   */
  soon?(task: () => void): void
  log?: Log
  /** Has some answers computed again by other workers (spot_check.ts); none by default. */
  spotChecks?: Pick<SpotChecksDeps, 'share' | 'difference'>
}

/** How it stands with one worker. */
export interface SeatState {
  inFlight: number
  served: number
  draining: boolean
  /** Hashes of those it has loaded. */
  models: string[]
  /** Models that it is not given. */
  refused?: { model: string; reason: string }[]
}

/**
 * One queue per model, bound late to whichever worker is free. Calls that wait are joined into one run; a call whose
 * worker vanishes goes to another. Ref: NVIDIA Triton's dynamic batcher, with no artificial delay.
 *
 * A worker that computes is sent one more run, so that its device never waits for the wire, but only while every
 * worker computes, and that run is not bound to it: a worker that goes idle, or proves faster by answering a run sent
 * later, takes it over unless something older is queued. So no call waits behind a slow worker while another is idle, and
 * none is given to a slow worker that a quick one would be done with sooner (choice.ts).
 */
export class Pool {
  readonly #deps: PoolDeps
  readonly #waiting: Waiting
  readonly #seats = new SeatBook()
  readonly #paces = new ModelPaces()
  readonly #checks: SpotChecks | undefined
  readonly #runs: Runs
  readonly #now: () => number
  readonly #backlog = (call: PoolCall): Backlog => this.#waiting.backlogOf(call)
  #cancelLook = () => {}
  #calls = 0
  #dispatchIsDue = false

  constructor(deps: PoolDeps) {
    this.#deps = deps
    this.#now = () => deps.clock.now()
    this.#waiting = new Waiting({
      clock: deps.clock,
      random: deps.random ?? Math.random,
      onOverflow: (reason) => deps.metrics.count('shoal_pool_calls_shed_total', { reason }),
    })
    this.#checks = deps.spotChecks && new SpotChecks({
      ...deps,
      ...deps.spotChecks,
      random: deps.random ?? Math.random,
      idle: (call) => this.queued === 0 && this.#seats.idle > 1 ? this.#seats.idleFor(call.model) : [],
      again: (seat, call, signal) => this.#runs.again(seat, call, signal),
      bar: (seat, model, reason) => {
        this.#seats.bar(seat, model, reason)
        this.#failHopeless()
      },
    })
    this.#runs = new Runs({
      clock: deps.clock,
      metrics: deps.metrics,
      seats: this.#seats,
      waiting: this.#waiting,
      paces: this.#paces,
      checks: this.#checks,
      onGone: this.#onGone,
      onEnd: () => this.#dispatch(),
      noWorkerFor: (model, sent) => this.#noWorkerFor(model, sent),
    })
    deps.metrics.gauge('shoal_pool_queued_calls', () => this.queued)
    deps.metrics.gauge('shoal_pool_workers', () => this.#seats.size)
  }

  /** Calls that wait for a worker. */
  get queued(): number {
    return this.#waiting.calls
  }

  /** Models with calls waiting. */
  get models(): number {
    return this.#waiting.models
  }

  /** How many calls wait, by model. */
  depths(): { model: string; calls: number }[] {
    return this.#waiting.depths()
  }

  /** Workers, those that are leaving included. */
  get size(): number {
    return this.#seats.size
  }

  /** Workers that take calls. */
  get usable(): number {
    return this.#seats.usable
  }

  /** @param models hashes of those it has loaded */
  add(worker: PoolWorker, models: Iterable<string> = []): void {
    const seat = new Seat(worker, models)
    for (const [model, reason] of this.#checks?.barredOf(worker) ?? []) seat.barred.set(model, reason)
    this.#seats.add(seat)
    this.#dispatch()
  }

  /**
   * How it stands with a worker.
   * @param models hashes of all that it has loaded
   * @param share how much of its usual speed it offers
   */
  report(id: string, { models, share }: { models: readonly string[]; share: number }): void {
    const seat = this.#seats.get(id)
    if (!seat) return
    this.#seats.report(seat, models, share)
    this.#dispatch()
  }

  /** Forgets a worker. Its runs reject by themselves, and their calls go to others. */
  remove(id: string): void {
    this.#seats.remove(id)
    this.#failHopeless()
  }

  /** Gives a worker nothing more; resolves when its last run is answered. */
  drain(id: string): Promise<void> {
    const seat = this.#seats.get(id)
    if (!seat) return Promise.resolve()
    this.#seats.drain(seat)
    this.#failHopeless()
    return seat.idle()
  }

  describe(id: string): SeatState | undefined {
    const seat = this.#seats.get(id)
    if (!seat) return undefined
    const { runs, served, draining, models } = seat
    const refused = this.#seats.refusedBy(seat)
    return {
      inFlight: runs.length,
      served,
      draining,
      models: [...models],
      ...(refused.length > 0 && { refused }),
    }
  }

  /**
   * Runs one call on some worker.
   * @throws RpcError `resource_exhausted` when the model's queue is full or the call would wait too long in it,
   * `unavailable` when there is no worker, `deadline_exceeded` or `canceled` as the signal says, or what the worker
   * answered
   */
  run(request: PoolRequest): Promise<PoolResult> {
    if (request.signal.aborted) return Promise.reject(abortError(request.signal.reason))
    if (!this.#seats.hasFor(request.model)) return Promise.reject(this.#noWorkerFor(request.model, false))
    return new Promise((resolve, reject) => {
      const at = { sequence: this.#calls++, nowMs: this.#deps.clock.now() }
      const call = new PoolCall(request, at, resolve, reject, this.#onGone)
      const refused = this.#waiting.push(call, request.timeoutMs ?? Infinity, this.#seats.idle)
      if (refused) return call.reject(refused)
      this.#dispatchSoon()
    })
  }

  /** A caller has gone: a waiting call leaves its queue at once, a run is cancelled when all of its callers have gone. */
  readonly #onGone = (call: PoolCall): void => {
    const { run } = call
    this.#deps.metrics.count('shoal_pool_calls_dropped_total', { state: run ? 'running' : 'queued' })
    if (!run) this.#waiting.remove(call)
    else if (--run.live === 0) run.cancel.abort(call.signal.reason)
  }

  #dispatchSoon(): void {
    if (!this.#deps.soon) return this.#dispatch()
    if (this.#dispatchIsDue) return
    this.#dispatchIsDue = true
    this.#deps.soon(() => {
      this.#dispatchIsDue = false
      this.#dispatch()
    })
  }

  #dispatch(): void {
    this.#cancelLook()
    this.#waiting.dueMs = Infinity
    for (let next = this.#next(); next; next = this.#next()) {
      void this.#runs.start(next.seat, this.#waiting.take(next.head.model))
    }
    this.#waiting.settle()
    if (this.#waiting.dueMs !== Infinity) this.#lookIn(this.#waiting.dueMs - this.#now())
  }

  /** Looks again after about the time that a run of this call's model takes: a worker may be late that was counted on. */
  #lookLater(call: PoolCall): void {
    const usualMs = this.#paces.usual(call.model.sha256, call.rows) ?? 0
    this.#lookIn(Math.min(DEFAULTS.workerRestCapMs, Math.max(1, usualMs)))
  }

  #lookIn(ms: number): void {
    this.#cancelLook()
    this.#cancelLook = this.#deps.clock.after(ms, () => this.#dispatch())
  }

  /** The call that goes next, with the best seat for it. */
  #next(): { head: PoolCall; seat: Seat } | undefined {
    for (;;) {
      if (!this.#seats.available) return undefined
      let head = this.#waiting.peek()
      let seat = this.#seatFor(head ?? this.#seats.waitingRun?.calls[0])
      if (!seat) {
        // Those that are free may not run that call; one behind it they may.
        head = this.#waiting.peek((model) => this.#seats.hasFreeFor(model))
        seat = this.#seatFor(head)
      }
      if (!seat) return undefined
      if (seat === 'later') return void (head && this.#lookLater(head))
      const overdue = this.#seats.overdue(seat)
      const [first] = overdue?.calls ?? []
      if (!overdue || !first || (head && before(head, first)) || !isSooner(seat, overdue, this.#paces, this.#now())) {
        return head && { head, seat }
      }
      this.#takeBack(overdue)
    }
  }

  #seatFor(call: PoolCall | undefined): Seat | 'later' | undefined {
    return call && choose(this.#seats, this.#paces, call, this.#backlog, this.#now)
  }

  /** Takes a run back from a worker that has not begun it. */
  #takeBack(run: Run): void {
    this.#deps.metrics.count('shoal_pool_runs_taken_back_total')
    run.seat.prefetches = false
    this.#seats.release(run, this.#now())
    this.#waiting.putBack(run.calls.filter((call) => !call.signal.aborted))
    run.cancel.abort(new RpcError('canceled', 'Cannot finish the run: another worker has taken it over'))
  }

  /** Calls that no worker is left for. */
  #failHopeless(): void {
    for (const call of this.#waiting.takeIf((model) => !this.#seats.hasFor(model))) {
      call.reject(this.#noWorkerFor(call.model, call.sent))
    }
  }

  /** @param sent whether a worker had taken the call before it was lost, and may have begun it */
  #noWorkerFor(model: ModelRef, sent: boolean): RpcError {
    const limits: (WorkerLimits | undefined)[] = []
    for (const { draining, worker } of this.#seats.all) {
      if (!draining && (!worker.volunteer || model.public)) limits.push(worker.limits)
    }
    const shortage = leastShort(limits, model)
    if (shortage) return tooSmall(shortage, limits.length, sent)
    return noWorkers(sent, limits.length)
  }
}
