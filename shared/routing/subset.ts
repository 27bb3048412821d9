import type { LeasedInstance } from '../stores/lease_store.ts'
import { hashPair, hashText } from './hash.ts'

type Instances = readonly LeasedInstance[]

/**
 * The part of a large set that one caller balances over, so that callers × instances do not all hold connections: the
 * `size` instances whose hash with the caller's is the highest (rendezvous hashing). The same caller and set give the same
 * part, so that it keeps its connections; when an instance comes or goes, each caller's part changes by one at most. Many
 * callers together load all alike: of C callers, C · size / n have an instance in their part, give or take its root. A
 * caller that is alone loads only its part, which is why there is none by default.
 */
export function subsetOf(set: Instances, size: number, caller: number): Instances {
  if (set.length <= size) return set
  const scored = set.map((instance) => ({ instance, score: hashPair(hashText(instance.id), caller) }))
  scored.sort((a, b) => b.score - a.score || (a.instance.id < b.instance.id ? -1 : 1))
  return scored.slice(0, size).map(({ instance }) => instance)
}

/** Parts of sets that stay the same for many calls: each is chosen once. */
export class Subsets {
  readonly #size: number
  readonly #caller: number
  readonly #known = new WeakMap<Instances, Instances>()

  /** @param caller names this caller among all: another part for each */
  constructor(size: number, caller: string) {
    this.#size = size
    this.#caller = hashText(caller)
  }

  of(set: Instances): Instances {
    if (set.length <= this.#size) return set
    let part = this.#known.get(set)
    if (!part) this.#known.set(set, part = subsetOf(set, this.#size, this.#caller))
    return part
  }
}
