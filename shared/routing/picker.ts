import type { Random } from '../base/random.ts'
import type { LeasedInstance } from '../stores/lease_store.ts'

/** Chooses one of the instances; undefined only if there are none. */
export type Picker = (instances: readonly LeasedInstance[]) => LeasedInstance | undefined

/** What calling an instance costs at this moment. */
export type Cost = (instance: LeasedInstance) => number

/** Power of two choices: of two instances drawn at random, the cheaper one (Mitzenmacher 2001). */
export function p2c(cost: Cost, random: Random): Picker {
  return (instances) => {
    if (instances.length < 2) return instances[0]
    const first = Math.floor(random() * instances.length)
    const second = (first + 1 + Math.floor(random() * (instances.length - 1))) % instances.length
    const [a, b] = [instances[first], instances[second]]
    return a && b && cost(b) / b.weight < cost(a) / a.weight ? b : a
  }
}
