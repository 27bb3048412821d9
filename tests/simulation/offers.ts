import { DEFAULTS } from '../../shared/base/defaults.ts'
import type { LeasedInstance } from '../../shared/stores/lease_store.ts'
import { suspectAfterMs } from '../../shared/stores/lease_store.ts'

type Instances = readonly LeasedInstance[]

/** As they are without a mistake: mutations change them. */
const { ejectionFailures, ejectionBaseMs, ejectionMaxTimes, ejectionMaxShare } = DEFAULTS
/** Clocks of callers run slower than time does by less than this part. */
const SLOWNESS = 0.03

/** What a caller may choose from, and what is true of it. */
export interface Offer {
  caller: string
  /** All that the caller knows to be registered. */
  listed: Instances
  /** Those that a call may go to, with all its attempts. */
  offered: Instances
  /** Size of the part that the caller balances over; undefined for all. */
  subset: number | undefined
  /** Whether an instance runs, works, and can be reached by the caller. */
  isWell(id: string): boolean
}

/**
 * What routing must offer after it has left out suspects, the ejected, other zones and all but a subset, of each version:
 *
 * - Of n registered at most floor(n · ejectionMaxShare) are left out. So where h > n / 2 of them are well, h − floor(n / 2)
 *   of these are offered, which is one at least: whoever else is offered beside them.
 * - Once ejections have settled, suspects alone are left out: of those that are well, each that has been heard of late is
 *   offered. So at least half of them are, unless more than half are suspects besides.
 * - A subset may miss those that are well, as long as nobody has failed its calls; it is as large as the half allows.
 *
 * When they have settled: an ejection takes ejectionFailures failures of its own, those before it ends not counted, and the
 * n-th lasts n · ejectionBaseMs at most. Before the n-th, those before it have lasted base · n (n − 1) / 2 together. So of
 * f failures, the first and the last e ms apart, none ejects for longer than base times the largest n with
 * n ≤ f / ejectionFailures, base · n (n − 1) / 2 ≤ e and n ≤ ejectionMaxTimes, and none begins after the last of them.
 */
export class OfferRule {
  readonly #failuresMs = new Map<string, number[]>()

  onFailed(caller: string, id: string, nowMs: number): void {
    const key = `${caller} ${id}`
    const known = this.#failuresMs.get(key)
    if (known) known.push(nowMs)
    else this.#failuresMs.set(key, [nowMs])
  }

  /** @returns what is missing in an offer; undefined if nothing is */
  missingIn({ caller, listed, offered, subset, isWell }: Offer, nowMs: number): string | undefined {
    for (const [version, registered] of Map.groupBy(listed, (instance) => instance.version)) {
      const given = offered.filter((instance) => instance.version === version)
      const least = registered.length - Math.floor(registered.length * ejectionMaxShare)
      const well = registered.filter(({ id }) => isWell(id))
      if (well.length * 2 <= registered.length) continue
      const what = `${caller} is offered ${ids(given)} of ${ids(registered)}, well ${ids(well)}`
      if (given.length < Math.min(least, subset ?? Infinity)) return what
      if (subset !== undefined) continue
      const wellGiven = well.filter(({ id }) => given.some((one) => one.id === id))
      if (wellGiven.length < well.length - (registered.length - least)) return what
      const due = well.filter(({ id, ageMs, ttlMs }) =>
        ageMs < suspectAfterMs(ttlMs) && nowMs >= this.settledAtMs(caller, id)
      )
      const missing = due.filter((one) => !wellGiven.includes(one))
      if (missing.length > 0) return `${what}; nothing speaks against ${ids(missing)}`
    }
    return undefined
  }

  /** By when any ejection of an instance by a caller has ended, if nothing fails any more. */
  settledAtMs(caller: string, id: string): number {
    const failures = this.#failuresMs.get(`${caller} ${id}`) ?? []
    const [first = 0, last = 0] = [failures[0], failures.at(-1)]
    const most = Math.min(Math.floor(failures.length / ejectionFailures), ejectionMaxTimes)
    let times = 0
    while (times < most && ejectionBaseMs * (times + 1) * times / 2 * (1 - SLOWNESS) <= last - first) times++
    return last + times * ejectionBaseMs * (1 + SLOWNESS)
  }
}

function ids(instances: Instances): string {
  return instances.map(({ id }) => id).join(',') || 'nobody'
}
