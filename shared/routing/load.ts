import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LinkedList } from '../base/linked_list.ts'

interface Load {
  /** When each outstanding call began, the oldest first. */
  outstanding: LinkedList<number>
  /** Peak-sensitive moving average of latency, ms; undefined before the first end. */
  ewmaMs: number | undefined
  updatedAtMs: number
}

/** A failure counts as this slow: an instance that fails fast is left alone for about half a minute. */
const FAILURE_MS = 1_000
/** Cost of an instance whose first answer is still out: one probe at a time, unless all others are as unknown. */
const UNKNOWN_MS = 1e9

/**
 * What each instance of a service costs right now: its expected latency times the calls it would then have. The
 * average jumps up to a slow answer at once and decays towards fast ones, and a call that is out already for longer
 * counts as the slow answer it will be. Source: Finagle's peak EWMA.
 */
export class LoadBook {
  readonly #clock: Clock
  readonly #decayMs: number
  readonly #loads = new Map<string, Load>()

  constructor(clock: Clock, decayMs: number = DEFAULTS.peakEwmaDecayMs) {
    this.#clock = clock
    this.#decayMs = decayMs
  }

  /** Instances that something is known of. */
  get size(): number {
    return this.#loads.size
  }

  /**
   * Expected milliseconds of work ahead of a call.
   * @param capacity relative to the other instances', 1 on average and above 0. An instance of capacity 2 has half the
   *   cost per outstanding call, and is tried again in half the time: so equals share calls in proportion to capacity.
   */
  cost(id: string, capacity = 1): number {
    const load = this.#loads.get(id)
    if (!load) return 0
    const { size } = load.outstanding
    const calls = 1 + size / capacity
    const nowMs = this.#clock.now()
    const { first: oldestMs = nowMs } = load.outstanding
    const waitedMs = nowMs - oldestMs
    if (load.ewmaMs === undefined) return size === 0 ? 0 : UNKNOWN_MS + waitedMs + calls
    const decayedMs = load.ewmaMs * Math.exp(-(nowMs - load.updatedAtMs) * capacity / this.#decayMs)
    return Math.max(decayedMs, waitedMs) * calls + size / capacity
  }

  /**
   * Marks a call as begun. The returned function marks its end, once: whether the instance failed it. That a caller gave
   * up is no failure: the average then falls no further than it does by itself.
   */
  begin(id: string): (failed: boolean) => void {
    let load = this.#loads.get(id)
    if (!load) {
      load = { outstanding: new LinkedList(), ewmaMs: undefined, updatedAtMs: this.#clock.now() }
      this.#loads.set(id, load)
    }
    const startedAtMs = this.#clock.now()
    const call = load.outstanding.add(startedAtMs)
    return (failed) => {
      if (!load.outstanding.remove(call)) return
      const tookMs = this.#clock.now() - startedAtMs
      this.#observe(load, failed ? Math.max(tookMs, FAILURE_MS) : tookMs)
    }
  }

  /** Forgets instances that are gone, so that the book stays as small as the table. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const [id, load] of this.#loads) if (!ids.has(id) && load.outstanding.size === 0) this.#loads.delete(id)
  }

  #observe(load: Load, latencyMs: number): void {
    const nowMs = this.#clock.now()
    const weight = Math.exp(-(nowMs - load.updatedAtMs) / this.#decayMs)
    const known = load.ewmaMs ?? 0
    load.ewmaMs = latencyMs > known ? latencyMs : known * weight + latencyMs * (1 - weight)
    load.updatedAtMs = nowMs
  }
}
