import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { type Link, LinkedList } from '../base/linked_list.ts'
import type { Verdict } from './verdict.ts'

/** One call that is out. Ended once, by LoadBook.end. */
export type OutstandingCall = Link<{ readonly load: Load; readonly startedAtMs: number }>

interface Load {
  /** Calls out, the oldest first. */
  readonly outstanding: LinkedList<OutstandingCall['value']>
  /** Streams that have begun and not ended. They keep an instance busy, and say nothing of how soon it answers. */
  streams: number
  /** Peak-sensitive moving average of latency, ms; undefined before the first end. */
  ewmaMs: number | undefined
  updatedAtMs: number
}

/** Cost of an instance whose first answer is still out: one probe at a time, unless all others are as unknown. */
const UNKNOWN_MS = 1e9
/** Refusals double an average to this at most. Out of it, it decays to 20 ms in 80 s. */
const MAX_REFUSED_MS = 60_000
/** Weight of one answer in what is usual for the service: the last fifty or so count. */
const USUAL_WEIGHT = 0.02

/**
 * What each instance of a service costs right now: its expected latency times the calls it would then have. The
 * average jumps up to a slow answer at once and decays towards fast ones, and a call that is out already for longer
 * counts as the slow answer it will be. Source: Finagle's peak EWMA.
 *
 * A failure tells nothing of how long an answer would have taken, and who fails fast must not look cheap: it counts as no
 * quicker than what is usual for the service. A refusal asks for fewer calls: it doubles the cost, so that who refuses one
 * of many is left alone for as long as the average takes to halve (7 s), and who refuses them all soon gets none.
 */
export class LoadBook {
  readonly #clock: Pick<Clock, 'now'>
  readonly #decayMs: number
  readonly #loads = new Map<string, Load>()
  #usualMs = 0

  constructor(clock: Pick<Clock, 'now'>, decayMs: number = DEFAULTS.peakEwmaDecayMs) {
    this.#clock = clock
    this.#decayMs = decayMs
  }

  /** Instances that something is known of. */
  get size(): number {
    return this.#loads.size
  }

  /** What an answer of this service takes of late, of any instance; 0 before the first. */
  get usualMs(): number {
    return this.#usualMs
  }

  /** Calls that an instance has to answer yet, and streams that it has to end. */
  outstanding(id: string): number {
    const load = this.#loads.get(id)
    return load ? load.outstanding.size + load.streams : 0
  }

  /**
   * Expected milliseconds of work ahead of a call.
   * @param capacity relative to the other instances', 1 on average and above 0. An instance of capacity 2 has half the
   *   cost per outstanding call, and is tried again in half the time: so equals share calls in proportion to capacity.
   */
  cost(id: string, capacity = 1): number {
    const load = this.#loads.get(id)
    if (!load) return 0
    const { first: oldest } = load.outstanding
    const size = load.outstanding.size + load.streams
    const calls = 1 + size / capacity
    const nowMs = this.#clock.now()
    const waitedMs = oldest ? nowMs - oldest.startedAtMs : 0
    if (load.ewmaMs === undefined) return size === 0 ? 0 : UNKNOWN_MS + waitedMs + calls
    const decayedMs = load.ewmaMs * Math.exp(-(nowMs - load.updatedAtMs) * capacity / this.#decayMs)
    return Math.max(decayedMs, waitedMs) * calls + size / capacity
  }

  /** Marks a call as begun. */
  begin(id: string): OutstandingCall {
    const startedAtMs = this.#clock.now()
    const load = this.#loadOf(id, startedAtMs)
    return load.outstanding.add({ load, startedAtMs })
  }

  /** Marks a stream as begun, once its call was answered. @returns marks its end; more than once does no harm */
  beginStream(id: string): () => void {
    const load = this.#loadOf(id, this.#clock.now())
    let ended = false
    load.streams++
    return () => {
      if (!ended) load.streams--
      ended = true
    }
  }

  /**
   * Marks its end: answered, failed or refused by the instance, or given up by the caller. The last is no failure: the
   * average then falls no further than it does by itself.
   * @returns how long it took, ms
   */
  end(call: OutstandingCall, outcome: Verdict): number {
    const nowMs = this.#clock.now()
    const { load, startedAtMs } = call.value
    const tookMs = nowMs - startedAtMs
    if (!load.outstanding.remove(call)) return tookMs
    if (outcome === 'failed') return this.#raise(load, this.#usualMs, tookMs, nowMs)
    if (outcome === 'refused') return this.#raise(load, Math.max(this.#usualMs, 1), tookMs, nowMs, 2)
    if (outcome === 'answered') {
      this.#usualMs += this.#usualMs === 0 ? tookMs : (tookMs - this.#usualMs) * USUAL_WEIGHT
    }
    const weight = Math.exp(-(nowMs - load.updatedAtMs) / this.#decayMs)
    const known = load.ewmaMs ?? 0
    load.ewmaMs = tookMs > known ? tookMs : known * weight + tookMs * (1 - weight)
    load.updatedAtMs = nowMs
    return tookMs
  }

  /** Forgets instances that are gone, so that the book stays as small as the table. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#loads.keys()) {
      if (!ids.has(id) && this.outstanding(id) === 0) this.#loads.delete(id)
    }
  }

  #loadOf(id: string, nowMs: number): Load {
    let load = this.#loads.get(id)
    if (!load) {
      load = { outstanding: new LinkedList(), streams: 0, ewmaMs: undefined, updatedAtMs: nowMs }
      this.#loads.set(id, load)
    }
    return load
  }

  /** Raises an average to `leastMs` at least, and by a factor. */
  #raise(load: Load, leastMs: number, tookMs: number, nowMs: number, factor = 1): number {
    const decayedMs = (load.ewmaMs ?? 0) * Math.exp(-(nowMs - load.updatedAtMs) / this.#decayMs)
    const raisedMs = Math.min(factor * Math.max(decayedMs, leastMs), MAX_REFUSED_MS)
    load.ewmaMs = Math.max(decayedMs, raisedMs, tookMs)
    load.updatedAtMs = nowMs
    return tookMs
  }
}
