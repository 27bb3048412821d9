import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Exchanged, JobStore, Lane, Outcome, TakenJob } from '../stores/job_store.ts'
import { RpcError } from '../wire/errors.ts'
import { type AttemptDeps, makeAttempt, resultKey } from './job_attempt.ts'
import { JobPace } from './job_pace.ts'
import { removeBlobs } from './job_task.ts'

export interface ConsumerDeps extends AttemptDeps {
  store: JobStore
  /** How many jobs of each lane may be under way here, right now. */
  capacity(): Readonly<Record<Lane, number>>
  /** Something was begun or settled here. */
  onChange?(id: string): void
  /**
   * Calls `wake` after so long at the latest; undefined if nothing is known to fall due. By default a timer, of
   * DEFAULTS.jobPollMs at most: others may have submitted jobs. @returns cancels it
   */
  rest?(delayMs: number | undefined, wake: () => void): () => void
  leaseMs?: number
  beatMs?: number
  metrics: Metrics
  log: Log
}

/** Between two exchanges, while more is under way: outcomes that come in together go out together. */
const GATHER_MS = 1
/** Between two failed exchanges, and between two that found only what they could not do. */
const PAUSE_MS = 1_000

interface Work {
  job: TakenJob
  cancel: AbortController
  takenAtMs: number
}

/**
 * Works on jobs at the pace of whoever does them: takes as many as there is room for, tells the store that it is at work,
 * and settles what has ended while it takes more. While there is nothing to do, it asks the store no more often than
 * DEFAULTS.jobPollMs, unless woken.
 */
export class JobConsumer {
  readonly #deps: ConsumerDeps
  readonly #working = new Map<string, Work>()
  readonly #running: Record<Lane, number> = { model: 0, function: 0 }
  readonly #pace: Record<Lane, JobPace> = { model: new JobPace(), function: new JobPace() }
  #outcomes: Outcome[] = []
  #turning: Promise<void> | undefined
  /** Woken while a turn was under way. */
  #again = false
  #closed = false
  #cancelRest = () => {}
  #cancelGather = () => {}
  #cancelBeat = () => {}
  #beating = false

  constructor(deps: ConsumerDeps) {
    this.#deps = deps
    deps.metrics.gauge('shoal_jobs_running', () => this.#working.size)
  }

  /** Jobs under way here. */
  get size(): number {
    return this.#working.size
  }

  /** Looks for jobs. @returns when it has looked */
  wake(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    if (this.#turning) {
      this.#again = true
      return this.#turning
    }
    this.#cancelRest()
    this.#cancelGather()
    return this.#turning = this.#turn().finally(() => this.#turning = undefined)
  }

  /** Drops the work on a job that is no longer wanted. */
  drop(id: string): void {
    this.#lose(id, new RpcError('canceled', 'Cannot finish the job: it was canceled'))
  }

  /** Ends all work, and gives back what is not done. @param graceMs how long work under way may take to end */
  async close(graceMs = 0): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#cancelRest()
    this.#cancelGather()
    await this.#turning
    const endsAtMs = this.#deps.clock.now() + graceMs
    while (this.#working.size > 0 && this.#deps.clock.now() < endsAtMs) {
      await new Promise<void>((resolve) => this.#deps.clock.after(20, resolve))
    }
    this.#cancelBeat()
    for (const { job: { id, attempt } } of this.#working.values()) {
      this.#outcomes.push({ id, attempt, kind: 'released', delayMs: 0 })
      this.#lose(id, new RpcError('unavailable', 'Cannot finish the job: its consumer is stopping'))
    }
    if (this.#outcomes.length > 0) await this.#exchange({ model: 0, function: 0 }).catch(() => {})
  }

  async #turn(): Promise<void> {
    let delayMs: number | undefined
    do {
      this.#again = false
      try {
        delayMs = await this.#exchange(this.#room())
      } catch (thrown) {
        this.#deps.log('warn', 'jobs cannot be reached', { reason: RpcError.from(thrown).message })
        // A store in trouble is asked no more often than an idle one, unless there are outcomes to bring.
        delayMs = this.#outcomes.length > 0 ? PAUSE_MS * (1 + this.#deps.random()) : DEFAULTS.jobPollMs
        this.#again = false
      }
    } while (this.#again && !this.#closed)
    if (this.#closed) return
    const rest = this.#deps.rest ?? this.#restByTimer
    this.#cancelRest = rest(delayMs, () => void this.wake())
  }

  readonly #restByTimer = (delayMs: number | undefined, wake: () => void) =>
    this.#deps.clock.after(Math.min(delayMs ?? Infinity, DEFAULTS.jobPollMs), wake)

  #room(): Record<Lane, number> {
    const capacity = this.#deps.capacity()
    const room = (lane: Lane) => {
      const left = this.#pace[lane].limit(capacity[lane]) - this.#running[lane]
      return Math.max(0, Math.min(left, LIMITS.maxJobsTaken))
    }
    return { model: room('model'), function: room('function') }
  }

  /** @returns when the store is to be asked again at the latest */
  async #exchange(take: Record<Lane, number>): Promise<number | undefined> {
    const { store, leaseMs = DEFAULTS.jobLeaseMs } = this.#deps
    const outcomes = this.#outcomes.splice(0, MAX_OUTCOMES)
    let exchanged: Exchanged
    try {
      exchanged = await store.exchange({ outcomes, take, leaseMs })
    } catch (thrown) {
      this.#outcomes.unshift(...outcomes)
      throw thrown
    }
    for (const [i, outcome] of outcomes.entries()) this.#settled(outcome, exchanged.accepted[i] === true)
    for (const job of exchanged.jobs) this.#begin(job)
    await this.#forget(exchanged.forgotten)
    // Each lane that gave all it was asked for may have more, as soon as there is room: whatever ends wakes us then.
    if (this.#outcomes.length > 0) this.#again = true
    const { dueInMs } = exchanged
    return dueInMs === undefined
      ? undefined
      : Math.max(dueInMs, exchanged.forgotten.length > 0 ? PAUSE_MS : MIN_REST_MS)
  }

  #settled({ id, attempt, kind }: Outcome, accepted: boolean): void {
    this.#deps.metrics.count('shoal_jobs_settled_total', { outcome: accepted ? kind : 'late' })
    if (accepted) this.#deps.onChange?.(id)
    // A result that came too late left its blob: that of another attempt has another name.
    else if (kind === 'done') void this.#deps.blobs.delete(resultKey(id, attempt)).catch(() => {})
  }

  #begin(job: TakenJob): void {
    const work: Work = { job, cancel: new AbortController(), takenAtMs: this.#deps.clock.now() }
    this.#working.set(job.id, work)
    this.#running[job.lane]++
    this.#deps.onChange?.(job.id)
    this.#beat()
    void makeAttempt(this.#deps, job, work.cancel.signal).then((outcome) => {
      if (this.#working.get(job.id) !== work) return
      this.#end(work)
      this.#pace[job.lane].ended(this.#deps.clock.now() - work.takenAtMs)
      this.#outcomes.push(outcome)
      this.#gather()
    })
  }

  #gather(): void {
    if (this.#closed) return
    if (this.#turning) this.#again = true
    else if (this.#working.size === 0) void this.wake()
    else if (this.#outcomes.length === 1) {
      this.#cancelGather = this.#deps.clock.after(GATHER_MS, () => void this.wake())
    }
  }

  #end({ job }: Work): void {
    this.#working.delete(job.id)
    this.#running[job.lane]--
    if (this.#working.size === 0) this.#cancelBeat()
  }

  #lose(id: string, reason: RpcError): void {
    const work = this.#working.get(id)
    if (!work) return
    this.#end(work)
    work.cancel.abort(reason)
    this.#deps.onChange?.(id)
    void this.wake()
  }

  /** Tells the store that we are at work, for as long as we are. */
  #beat(): void {
    if (this.#beating) return
    this.#beating = true
    const { store, clock, leaseMs = DEFAULTS.jobLeaseMs, beatMs = DEFAULTS.jobBeatMs } = this.#deps
    const stop = clock.after(beatMs, async () => {
      this.#beating = false
      const claims = [...this.#working.values()].map(({ job: { id, attempt } }) => ({ id, attempt }))
      if (claims.length === 0) return
      this.#beat()
      const held = await store.extend(claims, leaseMs).catch(() => undefined)
      for (const [i, { id, attempt }] of claims.entries()) {
        // Of the store's silence nothing is concluded: if the lease runs out, the outcome will be refused.
        if (held?.[i] === false && this.#working.get(id)?.job.attempt === attempt) this.drop(id)
      }
    })
    this.#cancelBeat = () => {
      stop()
      this.#beating = false
    }
  }

  async #forget(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    const { store, blobs, log } = this.#deps
    try {
      for (const id of ids) await removeBlobs(id, blobs)
      await store.forget(ids)
    } catch (thrown) {
      log('warn', 'blobs of jobs cannot be removed', { reason: RpcError.from(thrown).message })
    }
  }
}

/** Outcomes of one exchange: some may bring long results. */
const MAX_OUTCOMES = 128
const MIN_REST_MS = 20
