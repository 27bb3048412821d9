import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'

/**
 * Spreads in time the workers that come back together, as after a restart. A few may join at once, so many a second in
 * the long run (GCRA). Who comes when it is full is told when its turn is, and turns are handed out one after another:
 * those who were sent away do not come back together either.
 */
export class JoinGate {
  readonly #clock: Pick<Clock, 'now'>
  readonly #gapMs: number
  readonly #burstMs: number
  /** By when all admitted so far would have come at the long-run rate. */
  #paidUntilMs = -Infinity
  #lastTurnAtMs = -Infinity

  constructor(
    clock: Pick<Clock, 'now'>,
    perSecond: number = DEFAULTS.joinsPerSecond,
    burst: number = DEFAULTS.joinBurst,
  ) {
    this.#clock = clock
    this.#gapMs = 1000 / perSecond
    this.#burstMs = burst * this.#gapMs
  }

  /** @returns 0 if a worker may join now, else in how many milliseconds it should come again */
  admit(): number {
    const nowMs = this.#clock.now()
    const paidUntilMs = Math.max(this.#paidUntilMs, nowMs - this.#burstMs)
    if (paidUntilMs + this.#gapMs <= nowMs) {
      this.#paidUntilMs = paidUntilMs + this.#gapMs
      return 0
    }
    const turnAtMs = Math.max(this.#lastTurnAtMs, nowMs) + this.#gapMs
    // Bounded, or a caller who asks in a loop would push the turns of all others away.
    this.#lastTurnAtMs = Math.min(turnAtMs, nowMs + DEFAULTS.retryAfterCapMs)
    return this.#lastTurnAtMs - nowMs
  }
}
