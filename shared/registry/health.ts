import { DEFAULTS } from '../base/defaults.ts'
import { type LeasedInstance, suspectAfterMs } from '../stores/lease_store.ts'

type Instances = readonly LeasedInstance[]

/** Two beats missed and more: see "Suspects" in lease_store.ts. */
export function isSuspect({ ageMs, ttlMs }: Pick<LeasedInstance, 'ageMs' | 'ttlMs'>): boolean {
  return ageMs >= suspectAfterMs(ttlMs)
}

/**
 * The instances that are not suspect. Where they are fewer than half, all are given (panic routing): so many do not die
 * at once, and if they have, the rest could not carry the load of all. Decided for each version and group by itself, so
 * that none disappears. The same list gives the same answer again, and is its own answer if nobody is suspect.
 */
export function preferHealthy(instances: Instances): Instances {
  let answer = healthy.get(instances)
  if (!answer) healthy.set(instances, answer = inEachSet(instances, healthyOf))
  return answer
}

/**
 * The instances of a zone, as long as they can carry its callers: at least two of them, with at least half the weight they
 * would have if all zones had the same. So if callers are spread evenly over zones, no instance gets more than twice the
 * calls it would get if all called all; below that, zones help each other out. An empty zone prefers none. Decided for
 * each version and group by itself; the same list gives the same answer again.
 */
export function preferZone(instances: Instances, zone: string): Instances {
  if (zone === '') return instances
  let known = near.get(instances)
  if (!known) near.set(instances, known = new Map())
  let answer = known.get(zone)
  if (!answer) {
    answer = inEachSet(instances, (set) => nearOf(set, zone))
    if (known.size < MAX_ZONES) known.set(zone, answer)
  }
  return answer
}

/** Tables stay the same for many calls. A process is in one zone; more than a few are nobody's. */
const healthy = new WeakMap<Instances, Instances>()
const near = new WeakMap<Instances, Map<string, Instances>>()
const MAX_ZONES = 8

/** With one alone near, a retry would have nowhere else to go. */
const MIN_NEAR = 2
const MIN_NEAR_SHARE = 0.5

function healthyOf(set: Instances): Instances {
  const sound = set.filter((instance) => !isSuspect(instance))
  return sound.length < set.length * DEFAULTS.panicShare ? set : sound
}

function nearOf(set: Instances, zone: string): Instances {
  const inZone = set.filter((instance) => instance.zone === zone)
  const zones = new Set(set.map((instance) => instance.zone)).size
  const enough = inZone.length >= MIN_NEAR && weightOf(inZone) >= MIN_NEAR_SHARE * weightOf(set) / zones
  return enough ? inZone : set
}

function weightOf(set: Instances): number {
  return set.reduce((sum, { weight }) => sum + weight, 0)
}

/** Chooses in each set of equal version and group. @returns the list itself if all of it was chosen */
function inEachSet(instances: Instances, choose: (set: Instances) => Instances): Instances {
  const sets = Map.groupBy(instances, ({ version, group }) => `${version} ${group}`)
  const chosen = new Set([...sets.values()].flatMap(choose))
  return chosen.size === instances.length ? instances : instances.filter((instance) => chosen.has(instance))
}
