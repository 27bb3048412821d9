import type { Clock } from '../base/clock.ts'
import type { CallOutcome } from './breaker.ts'

/** Calls earn a fraction of a retry each; a few a second are free, so that a quiet client may retry at all. */
const RETRIES_PER_CALL = 0.2
const FREE_PER_SECOND = 10
/** What calls earned, and how they ended, decays over this time: a quiet hour does not pay for a storm. */
const DECAY_SECONDS = 10
/** Calls that count as answered where hardly any have ended of late: a minute after a failure little is left of it. */
const BENEFIT_CALLS = 0.01

/**
 * Keeps retries from multiplying a failure: over any stretch they are at most 20 % of the calls, ten a second, and the
 * ten that a fresh budget starts with. The ten a second come in as far as calls have been answered of late, in the end:
 * while none is, the 20 % remain, or ten a second would be many times the calls of a quiet client. Source: Finagle's
 * RetryBudget, and for the latter gRPC's retry throttling.
 */
export class RetryBudget {
  readonly #clock: Pick<Clock, 'now'>
  #free = FREE_PER_SECOND
  #earned = 0
  #ended = 0
  #answered = 0
  #updatedAtMs: number

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock
    this.#updatedAtMs = clock.now()
  }

  /** Counts a call. */
  deposit(): void {
    this.#refill()
    this.#earned += RETRIES_PER_CALL
  }

  /** Takes the price of one retry. Answers whether there was enough. */
  withdraw(): boolean {
    this.#refill()
    if (this.#earned >= 1) this.#earned--
    else if (this.#free >= 1) this.#free--
    else return false
    return true
  }

  /** Counts the end of a call, its retries included. */
  record(outcome: CallOutcome, nowMs = this.#clock.now()): void {
    if (outcome === undefined) return
    this.#refill(nowMs)
    this.#ended++
    if (outcome === 'answered') this.#answered++
  }

  #refill(nowMs = this.#clock.now()): void {
    // A busy client comes many times in a millisecond, in which next to nothing decays: it is made up for later.
    const elapsedMs = nowMs - this.#updatedAtMs
    if (elapsedMs >= 0 && elapsedMs < 1) return
    const seconds = Math.max(0, elapsedMs) / 1000
    this.#updatedAtMs = nowMs
    const answeredShare = (this.#answered + BENEFIT_CALLS) / (this.#ended + BENEFIT_CALLS)
    this.#free = Math.min(FREE_PER_SECOND, this.#free + seconds * FREE_PER_SECOND * answeredShare)
    const left = Math.exp(-seconds / DECAY_SECONDS)
    this.#earned *= left
    this.#ended *= left
    this.#answered *= left
  }
}
