import type { Random } from '../base/random.ts'
import type { LeasedInstance } from '../stores/lease_store.ts'
import { hashPair, hashText } from './hash.ts'
import type { Cost, Picker } from './picker.ts'
import { urnOf } from './urn.ts'

/** How far above its part of all calls an instance may be: a quarter more, and one to round up. */
const EXCESS = 0.25

/**
 * Consistent hashing with bounded loads: calls of one key go to one instance, unless that one has more than its part of the
 * calls that are out; then to the next that the key prefers. When an instance comes or goes, only the keys that it wins or
 * had move. Calls without a key go anywhere, within the same bound. Looks at every instance: for tables of up to some hundreds.
 *
 * Each key ranks the instances by weighted rendezvous hashing (Thaler and Ravishankar 1998), which spreads keys more evenly
 * than a ring and needs none to be built. The bound: Mirrokni, Thorup and Zadimoghaddam 2016.
 * @param load calls out, a whole number; capacity is left aside
 */
export function consistentHash(load: Cost, random: Random): Picker {
  return (instances, key) => {
    if (instances.length < 2) return instances[0]
    const urn = urnOf(instances)
    const hashes = hashesOf(instances)
    const keyHash = key === undefined ? Math.floor(random() * 2 ** 32) : hashText(key)
    const loads = instances.map((instance) => load(instance, 1))
    const calls = loads.reduce((sum, one) => sum + one, 1)
    let [best, bestScore] = [undefined as LeasedInstance | undefined, Infinity]
    for (const [i, instance] of instances.entries()) {
      // Bounds add up to more than there are calls, so that someone is always below theirs.
      const bound = Math.ceil((1 + EXCESS) * calls * urn.capacity(i) / instances.length)
      if ((loads[i] ?? 0) >= bound) continue
      // Exponentially distributed with the weight as its rate: the least of them all is each one's by its part of the weights.
      const score = -Math.log((hashPair(hashes[i] ?? 0, keyHash) + 0.5) / 2 ** 32) / urn.weight(i)
      if (score < bestScore) [best, bestScore] = [instance, score]
    }
    return best
  }
}

/** Tables stay the same for many calls, so each is hashed once. */
const known = new WeakMap<readonly LeasedInstance[], Uint32Array>()

function hashesOf(instances: readonly LeasedInstance[]): Uint32Array {
  let hashes = known.get(instances)
  if (!hashes) known.set(instances, hashes = Uint32Array.from(instances, ({ id }) => hashText(id)))
  return hashes
}
