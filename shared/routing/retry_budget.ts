import type { Clock } from '../base/clock.ts'

/** Calls earn a fraction of a retry each; a few a second are free, so that a quiet client may retry at all. */
const RETRIES_PER_CALL = 0.2
const FREE_PER_SECOND = 10
/** Credit does not pile up: what ten seconds earned may be spent at once, no more. */
const WINDOW_SECONDS = 10

/**
 * Keeps retries from multiplying a failure: over any long run they are at most 20 % of the calls plus ten a second.
 * Source: Finagle's RetryBudget.
 */
export class RetryBudget {
  readonly #clock: Clock
  #credit = FREE_PER_SECOND
  #earned = 0
  #updatedAtMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#updatedAtMs = clock.now()
  }

  /** Counts a call. */
  deposit(): void {
    this.#refill()
    this.#earned = Math.min(this.#earned + RETRIES_PER_CALL, WINDOW_SECONDS * 100)
  }

  /** Takes the price of one retry. Answers whether there was enough. */
  withdraw(): boolean {
    this.#refill()
    if (this.#earned >= 1) this.#earned--
    else if (this.#credit >= 1) this.#credit--
    else return false
    return true
  }

  #refill(): void {
    const nowMs = this.#clock.now()
    const seconds = (nowMs - this.#updatedAtMs) / 1000
    this.#updatedAtMs = nowMs
    this.#credit = Math.min(FREE_PER_SECOND, this.#credit + seconds * FREE_PER_SECOND)
    // What calls earned is spent soon or not at all.
    this.#earned *= Math.exp(-seconds / WINDOW_SECONDS)
  }
}
