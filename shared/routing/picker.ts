import type { Random } from '../base/random.ts'
import type { LeasedInstance } from '../stores/lease_store.ts'
import { urnOf } from './urn.ts'

/**
 * Chooses one of the instances; undefined only if there are none. All but the smallest lists are the same object for many
 * calls, so what is computed of one may be kept with it. An instance of weight 0 gets calls only where all are of weight 0.
 * @param key calls of one key belong together; a picker may leave that aside
 */
export type Picker = (instances: readonly LeasedInstance[], key?: string) => LeasedInstance | undefined

/**
 * What calling an instance costs at this moment.
 * @param capacity its weight, divided by the mean weight of those to choose from
 */
export type Cost = (instance: LeasedInstance, capacity: number) => number

/** Multiples of it fall evenly over 0 to 1, however many there are. */
const GOLDEN = (Math.sqrt(5) - 1) / 2

/** A smaller difference of costs is noise: the first drawn is taken, so that equals share calls by weight alone. */
const NOISE = 0.05

/**
 * Power of two choices: of two instances drawn at random, the cheaper one (Mitzenmacher 2001). They are drawn in
 * proportion to their weights.
 */
export function p2c(cost: Cost, random: Random): Picker {
  return (instances) => {
    if (instances.length < 2) return instances[0]
    const urn = urnOf(instances)
    const first = urn.draw(random())
    const second = urn.draw(random(), first)
    const [a, b] = [instances[first], instances[second]]
    if (!a || !b || a === b) return a
    return cost(b, urn.capacity(second)) < cost(a, urn.capacity(first)) * (1 - NOISE) ? b : a
  }
}

/** The cheapest of all, and of several such a random one. Looks at every instance: for tables of up to some hundreds. */
export function least(cost: Cost, random: Random): Picker {
  return (instances) => {
    if (instances.length < 2) return instances[0]
    const urn = urnOf(instances)
    const start = Math.floor(random() * instances.length)
    let [best, bestCost] = [instances[start], Infinity]
    for (let i = 0; i < instances.length; i++) {
      const at = (start + i) % instances.length
      const one = instances[at]
      if (!one || urn.weight(at) === 0) continue
      const ofOne = cost(one, urn.capacity(at))
      if (ofOne < bestCost) [best, bestCost] = [one, ofOne]
    }
    return best
  }
}

/** Any, in proportion to their weights. */
export function weightedRandom(random: Random): Picker {
  return (instances) => instances[instances.length < 2 ? 0 : urnOf(instances).draw(random())]
}

/**
 * One after the other, in proportion to their weights: a heavy one's turn comes in every round, a light one's in as many as
 * its part of the heaviest weight, evenly spread. Begins anywhere, so that many callers do not go in step.
 * Source: static stride scheduling, as in gRPC's weighted round robin (gRFC A58).
 */
export function roundRobin(random: Random): Picker {
  let turn = Math.floor(random() * (1 << 20))
  return (instances) => {
    const { length } = instances
    if (length < 2) return instances[0]
    const urn = urnOf(instances)
    for (;;) {
      turn++
      const [index, round] = [turn % length, Math.floor(turn / length)]
      const part = urn.weight(index) / urn.maxWeight
      // Its turns so far, at even distances: another is due in this round if their whole number rises. Each begins at a
      // place of its own, so that light ones do not all come in the same round.
      const start = index * GOLDEN % 1
      if (Math.floor((round + 1) * part + start) > Math.floor(round * part + start)) return instances[index]
    }
  }
}
