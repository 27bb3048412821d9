import type { Clock } from '../base/clock.ts'

/** How far back the rate looks: a few runs of the slowest usual models, and short enough to follow workers that come. */
const DECAY_MS = 10_000

/**
 * Measures how fast a backlog drains: runs started per millisecond of time in which calls waited. Time without a
 * backlog is left out, so a quiet night says nothing about the next rush. Both sums decay exponentially over DECAY_MS.
 */
export class DrainMeter {
  readonly #clock: Pick<Clock, 'now'>
  #runs = 0
  #busyMs = 0
  /** Up to when the present backlog is accounted for; undefined without one. */
  #accountedMs: number | undefined

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock
  }

  /** Says whether calls wait now. */
  set backlog(waiting: boolean) {
    if (waiting) this.#accountedMs ??= this.#clock.now()
    else if (this.#accountedMs !== undefined) {
      this.#account()
      this.#accountedMs = undefined
    }
  }

  /** A run has started. It counts only if its calls had to wait. */
  started(): void {
    if (this.#accountedMs === undefined) return
    this.#account()
    this.#runs++
  }

  /** Milliseconds until `runs` more have started; undefined while nothing is known. */
  estimateMs(runs: number): number | undefined {
    if (this.#accountedMs !== undefined) this.#account()
    return this.#runs > 0 && this.#busyMs > 0 ? runs * this.#busyMs / this.#runs : undefined
  }

  #account(): void {
    const nowMs = this.#clock.now()
    const weight = Math.exp(-(nowMs - (this.#accountedMs ?? nowMs)) / DECAY_MS)
    this.#runs *= weight
    // The integral of the decaying weight over the time that went by.
    this.#busyMs = this.#busyMs * weight + DECAY_MS * (1 - weight)
    this.#accountedMs = nowMs
  }
}
