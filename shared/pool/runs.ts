import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { Metrics } from '../base/metrics.ts'
import type { ModelRef } from '../contracts/pool.ts'
import { RpcError } from '../wire/errors.ts'
import type { Tensor } from '../wire/tensor.ts'
import type { ModelPaces } from './pace.ts'
import { PoolCall, type PoolRequest } from './pool_call.ts'
import { checkReply, type Run, startRun } from './run.ts'
import type { Seat, WorkerReply } from './seat.ts'
import type { SeatBook } from './seat_book.ts'
import type { SpotChecks } from './spot_check.ts'
import type { Waiting } from './waiting.ts'

export interface RunsDeps {
  clock: Clock
  metrics: Metrics
  seats: SeatBook
  waiting: Waiting
  paces: ModelPaces
  /** Has some answers computed again. */
  readonly checks: SpotChecks | undefined
  /** A caller has gone. */
  onGone(call: PoolCall): void
  /** A seat has room again. */
  onEnd(): void
  noWorkerFor(model: ModelRef, sent: boolean): RpcError
}

/** A call that took this many workers with it is not tried on another. */
const MAX_LOST = 3

/** Runs, from a seat to the answers of their calls, or to what becomes of calls whose run has failed. */
export class Runs {
  readonly #deps: RunsDeps
  #count = 0
  #splits = 0

  constructor(deps: RunsDeps) {
    this.#deps = deps
  }

  /** Sends calls of one model to a worker, and sees to it that each gets its answer or goes back to the queue. */
  async start(seat: Seat, calls: PoolCall[], isCheck = false): Promise<void> {
    const [first] = calls
    if (!first) return
    const run = startRun(this.#count++, calls, seat, isCheck)
    const { seats, metrics } = this.#deps
    const startedAtMs = this.#now()
    seats.take(seat, run, startedAtMs)
    if (!isCheck) metrics.count('shoal_pool_runs_total', { device: seat.worker.device })
    try {
      const inputs = calls.map((call) => ({ inputs: call.inputs }))
      const reply = await seat.worker.run(first.model, inputs, run.cancel.signal)
      if (run.over) return
      checkReply(reply, calls.length)
      const nowMs = this.#now()
      this.#measure(run, reply, nowMs)
      seats.release(run, nowMs)
      this.#answer(run, reply, startedAtMs, nowMs)
    } catch (thrown) {
      if (run.over) return
      seats.release(run, this.#now())
      this.#fail(run, RpcError.from(thrown))
    }
    this.#deps.onEnd()
  }

  /** Has a worker that is idle compute a call that was answered. */
  again(seat: Seat, { model, inputs }: PoolCall, signal: AbortSignal): Promise<Record<string, Tensor>> {
    return new Promise((resolve, reject) => {
      const at = { sequence: 0, nowMs: this.#now() }
      const request: PoolRequest = { model, inputs, priority: 'low', signal }
      const call = new PoolCall(request, at, ({ outputs }) => resolve(outputs), reject, this.#deps.onGone)
      void this.start(seat, [call], true)
    })
  }

  /** Notes how long a worker took for a run that it had to itself from the answer before. */
  #measure(run: Run, { timings: { loadMs } }: WorkerReply, nowMs: number): void {
    const { seat, calls, rows } = run
    const model = calls[0]?.model.sha256
    if (model === undefined || seat.runs[0] !== run) return
    const ms = Math.max(0, nowMs - seat.computingSinceMs - loadMs)
    seat.measured(model, rows, ms)
    this.#deps.paces.note(model, rows, ms, loadMs, seat.worker.weight)
  }

  #answer(run: Run, reply: WorkerReply, startedAtMs: number, nowMs: number): void {
    const { seat, calls } = run
    seat.answered(run)
    const { id, name, device } = seat.worker
    const checks = run.isCheck ? undefined : this.#deps.checks
    const workerMs = nowMs - startedAtMs
    for (const [i, call] of calls.entries()) {
      const outputs = reply.calls[i]?.outputs ?? {}
      call.resolve({
        outputs,
        worker: { id, name, device },
        timings: { ...reply.timings, queueMs: startedAtMs - call.submittedAtMs, workerMs, batch: calls.length },
      })
      // One of them at most is checked.
      checks?.answered(seat, call, outputs)
    }
  }

  #fail(run: Run, error: RpcError): void {
    const waiting = run.calls.filter((call) => !call.signal.aborted)
    if (waiting.length === 0) return
    if (run.isCheck) {
      if (error.code === 'unavailable') this.#rest(run.seat)
      return waiting[0]?.reject(error)
    }
    if (error.code === 'unavailable') return this.#onLost(run, waiting, error)
    if (run.calls.length === 1) return waiting[0]?.reject(error)
    // One bad call must not fail those it travelled with, nor must they all run one by one: halves find it in log₂ n.
    const middle = Math.ceil(waiting.length / 2)
    for (const half of [waiting.slice(0, middle), waiting.slice(middle)]) {
      const key = `split ${this.#splits++}`
      for (const call of half) call.joinOnly(key)
      this.#deps.waiting.putBack(half)
    }
  }

  /** The worker is gone, or cannot work for now. Its calls go elsewhere, unless they have taken too many with them. */
  #onLost(run: Run, waiting: readonly PoolCall[], error: RpcError): void {
    this.#rest(run.seat)
    this.#deps.metrics.count('shoal_pool_calls_requeued_total', undefined, waiting.length)
    const again: PoolCall[] = []
    for (const call of waiting) {
      if (!run.spared) {
        call.lost++
        // By itself from now on: if it is what takes workers down, its companions must not go with it.
        if (run.calls.length > 1) call.joinOnly(undefined)
      }
      if (call.lost >= MAX_LOST) call.reject(error)
      else if (!this.#deps.seats.hasFor(call.model)) call.reject(this.#deps.noWorkerFor(call.model, true))
      else again.push(call)
    }
    this.#deps.waiting.putBack(again)
  }

  /** A worker that is still there but cannot work would answer each call at once: it is left alone for a moment. */
  #rest(seat: Seat): void {
    const { seats, clock, onEnd } = this.#deps
    if (seats.get(seat.worker.id) !== seat) return
    const restMs = Math.min(DEFAULTS.workerRestCapMs, DEFAULTS.workerRestBaseMs * 2 ** seat.failures++)
    const wake = () => {
      seats.wake(seat)
      onEnd()
    }
    seats.rest(seat, clock.after(restMs, wake))
  }

  #now(): number {
    return this.#deps.clock.now()
  }
}
