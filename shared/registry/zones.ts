import type { LeasedInstance } from '../stores/lease_store.ts'

type Instances = readonly LeasedInstance[]

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
const near = new WeakMap<Instances, Map<string, Instances>>()
const MAX_ZONES = 8

/** With one alone near, a retry would have nowhere else to go. */
const MIN_NEAR = 2
const MIN_NEAR_SHARE = 0.5

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
