import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'

interface Load {
  outstanding: number
  /** Peak-sensitive moving average of latency, ms. */
  ewmaMs: number
  updatedAtMs: number
}

/**
 * What each instance costs right now: its latency's moving average times the calls outstanding. The average jumps up to
 * a slow answer at once and decays towards fast ones. Source: Finagle's peak EWMA.
 */
export class LoadBook {
  readonly #clock: Clock
  readonly #decayMs: number
  readonly #loads = new Map<string, Load>()

  constructor(clock: Clock, decayMs: number = DEFAULTS.peakEwmaDecayMs) {
    this.#clock = clock
    this.#decayMs = decayMs
  }

  cost(id: string): number {
    const load = this.#loads.get(id)
    if (!load) return 0
    const age = this.#clock.now() - load.updatedAtMs
    return load.ewmaMs * Math.exp(-age / this.#decayMs) * (load.outstanding + 1) + load.outstanding
  }

  /** Marks a call as begun. The returned function marks its end, once. */
  begin(id: string): () => void {
    const load = this.#loads.get(id) ?? { outstanding: 0, ewmaMs: 0, updatedAtMs: this.#clock.now() }
    this.#loads.set(id, load)
    load.outstanding++
    const startedAtMs = this.#clock.now()
    return () => {
      load.outstanding--
      const nowMs = this.#clock.now()
      const tookMs = nowMs - startedAtMs
      const weight = Math.exp(-(nowMs - load.updatedAtMs) / this.#decayMs)
      load.ewmaMs = tookMs > load.ewmaMs ? tookMs : load.ewmaMs * weight + tookMs * (1 - weight)
      load.updatedAtMs = nowMs
    }
  }

  /** Forgets instances that are gone, so that the book stays as small as the table. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const [id, load] of this.#loads) if (!ids.has(id) && load.outstanding === 0) this.#loads.delete(id)
  }
}
