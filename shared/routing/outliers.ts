import { DEFAULTS } from '../base/defaults.ts'
import type { LeasedInstance } from '../stores/lease_store.ts'

type Instances = readonly LeasedInstance[]

/** An instance that has failed of late. One that never does has none. */
interface Record {
  /** In a row, without a success between them. */
  failures: number
  /** When the first of these came: calm ends there, however long the fifth takes to come. */
  failingSinceMs: number
  /** Ejections so far, those forgiven taken away: each is one unit longer than the last. */
  times: number
  endsAtMs: number
}

/**
 * Leaves instances out that fail every call (outlier ejection). Five failures in a row eject one for 30 s, and each time
 * longer by as much: one that is well for a moment after each (flapping) fails ever less often. For as long without a
 * failure as it was out last, one ejection is forgiven. At most half of a set is out at once: where more fail, the fault is
 * elsewhere, and the rest could not carry the load of all. Source: Envoy's outlier detection.
 */
export class Outliers {
  readonly #baseMs: number
  readonly #records = new Map<string, Record>()
  /** What is left of a set, until the next ejection or the end of one. */
  #left = new WeakMap<Instances, Instances>()
  /** The end of the next ejection to end; Infinity while nobody is out. */
  #nextEndMs = Infinity

  /** @param baseMs how long the first ejection lasts, and how much longer each one after it */
  constructor(baseMs: number = DEFAULTS.ejectionBaseMs) {
    this.#baseMs = baseMs
  }

  /** Instances that something is remembered of. */
  get size(): number {
    return this.#records.size
  }

  /** Whether nobody is out, to its knowledge: then there is nothing to ask, and no time to look up. */
  get isQuiet(): boolean {
    return this.#nextEndMs === Infinity
  }

  /** How many are out. */
  ejected(nowMs: number): number {
    let count = 0
    for (const { endsAtMs } of this.#records.values()) if (nowMs < endsAtMs) count++
    return count
  }

  /** The instances that are not out, never fewer than half. The same list gives the same list, until something changes. */
  without(set: Instances, nowMs: number): Instances {
    if (nowMs >= this.#nextEndMs) this.#changed(nowMs)
    if (this.isQuiet) return set
    let left = this.#left.get(set)
    if (!left) this.#left.set(set, left = this.#leftOf(set, nowMs))
    return left
  }

  succeeded(id: string): void {
    // On nearly every call: nobody has failed.
    if (this.#records.size === 0) return
    const record = this.#records.get(id)
    if (record) record.failures = 0
  }

  /**
   * @param set the instances it was chosen from
   * @returns `ejected` if it is now, `spared` if it should be and too many are out already
   */
  failed(id: string, set: Instances, nowMs: number): 'counted' | 'ejected' | 'spared' {
    let record = this.#records.get(id)
    if (!record) this.#records.set(id, record = { failures: 0, failingSinceMs: 0, times: 0, endsAtMs: -Infinity })
    // An answer to a call from before it was ejected.
    if (nowMs < record.endsAtMs) return 'counted'
    if (record.failures === 0) record.failingSinceMs = nowMs
    if (++record.failures < DEFAULTS.ejectionFailures) return 'counted'
    const out = set.filter((one) => this.#isOut(one.id, nowMs)).length
    if (out + 1 > set.length * DEFAULTS.ejectionMaxShare) return 'spared'
    const times = Math.min(this.#timesAt(record, record.failingSinceMs) + 1, DEFAULTS.ejectionMaxTimes)
    Object.assign(record, { failures: 0, times, endsAtMs: nowMs + times * this.#baseMs })
    this.#changed(nowMs)
    return 'ejected'
  }

  /** Forgets instances that are gone. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#records.keys()) if (!ids.has(id)) this.#records.delete(id)
  }

  #isOut(id: string, nowMs: number): boolean {
    return nowMs < (this.#records.get(id)?.endsAtMs ?? -Infinity)
  }

  /** A set may have shrunk since its ejections: then those whose end is the nearest are back at once. */
  #leftOf(set: Instances, nowMs: number): Instances {
    const out = set.filter(({ id }) => this.#isOut(id, nowMs))
      .sort((a, b) => this.#endOf(b) - this.#endOf(a))
      .slice(0, Math.floor(set.length * DEFAULTS.ejectionMaxShare))
    return out.length === 0 ? set : set.filter((one) => !out.includes(one))
  }

  #endOf({ id }: LeasedInstance): number {
    return this.#records.get(id)?.endsAtMs ?? -Infinity
  }

  #changed(nowMs: number): void {
    this.#left = new WeakMap()
    this.#nextEndMs = Infinity
    for (const [id, record] of this.#records) {
      if (nowMs < record.endsAtMs) this.#nextEndMs = Math.min(this.#nextEndMs, record.endsAtMs)
      else if (record.failures === 0 && this.#timesAt(record, nowMs) === 0) this.#records.delete(id)
    }
  }

  /** Ejections that are not forgiven yet. */
  #timesAt({ times, endsAtMs }: Record, nowMs: number): number {
    let left = times
    for (let calmMs = nowMs - endsAtMs; left > 0 && calmMs >= left * this.#baseMs; left--) calmMs -= left * this.#baseMs
    return left
  }
}
