import { DEFAULTS } from '../base/defaults.ts'
import { isSuspect, type LeasedInstance } from '../stores/lease_store.ts'

type Instances = readonly LeasedInstance[]

/**
 * Those of `left` that are not suspect. Where they are fewer than half of the set, all of `left` are given (panic routing):
 * so many do not die at once, and if they have, the rest could not carry the load of all. The same list gives the same list
 * again, and is its own answer if nobody in it is suspect.
 *
 * Who is ejected counts as well: suspects may be up, and only cut off the store. If suspects and ejected could each take
 * half, a quarter of a set would be left, and perhaps none of a majority that works.
 * @param left the set, without those that are ejected: at least half of it
 * @param size of the set
 */
export function withoutSuspects(left: Instances, size: number): Instances {
  let answer = known.get(left)
  if (!answer) known.set(left, answer = soundOf(left, size))
  return answer
}

/** Tables stay the same for many calls. */
const known = new WeakMap<Instances, Instances>()

function soundOf(left: Instances, size: number): Instances {
  const sound = left.filter((instance) => !isSuspect(instance))
  return sound.length === left.length || sound.length < size * DEFAULTS.panicShare ? left : sound
}
