import type { Clock } from '../base/clock.ts'

/** Calls earn a fraction of a retry each; a few a second are free, so that a quiet client may retry at all. */
const RETRIES_PER_CALL = 0.2
const FREE_PER_SECOND = 10
/** What calls earned decays over this time: a quiet hour does not pay for a storm. */
const DECAY_SECONDS = 10

/**
 * Keeps retries from multiplying a failure: over any stretch they are at most 20 % of the calls, ten a second, and the
 * ten that a fresh budget starts with. Source: Finagle's RetryBudget.
 */
export class RetryBudget {
  readonly #clock: Pick<Clock, 'now'>
  #free = FREE_PER_SECOND
  #earned = 0
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

  #refill(): void {
    const nowMs = this.#clock.now()
    const seconds = Math.max(0, nowMs - this.#updatedAtMs) / 1000
    this.#updatedAtMs = nowMs
    this.#free = Math.min(FREE_PER_SECOND, this.#free + seconds * FREE_PER_SECOND)
    this.#earned *= Math.exp(-seconds / DECAY_SECONDS)
  }
}
