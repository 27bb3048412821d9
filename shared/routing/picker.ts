import type { Random } from '../base/random.ts'
import type { LeasedInstance } from '../stores/lease_store.ts'

/** Chooses one of the instances; undefined only if there are none. */
export type Picker = (instances: readonly LeasedInstance[]) => LeasedInstance | undefined

/**
 * What calling an instance costs at this moment.
 * @param capacity its weight, divided by the mean weight of those to choose from
 */
export type Cost = (instance: LeasedInstance, capacity: number) => number

/** A smaller difference of costs is noise: the first drawn is taken, so that equals share calls by weight alone. */
const NOISE = 0.05

/**
 * Power of two choices: of two instances drawn at random, the cheaper one (Mitzenmacher 2001). They are drawn in
 * proportion to their weights. An instance of weight 0 gets calls only where all are of weight 0.
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

/** Tables stay the same for many calls, so each is added up once. */
const urns = new WeakMap<readonly LeasedInstance[], Urn>()

function urnOf(instances: readonly LeasedInstance[]): Urn {
  let urn = urns.get(instances)
  if (!urn) urns.set(instances, urn = new Urn(instances.map(({ weight }) => weight)))
  return urn
}

/** Draws indexes in proportion to weights; evenly if all are 0. */
class Urn {
  /** Sum of the weights up to and including each. */
  readonly #ends: Float64Array

  constructor(weights: readonly number[]) {
    const isEmpty = weights.every((weight) => weight === 0)
    let end = 0
    this.#ends = Float64Array.from(weights, (weight) => end += isEmpty ? 1 : weight)
  }

  /** The weight of an index, divided by the mean weight. */
  capacity(index: number): number {
    return this.#weight(index) * this.#ends.length / (this.#ends.at(-1) ?? 1)
  }

  /**
   * @param chance in [0, 1)
   * @param except an index not to draw, unless it has all the weight
   */
  draw(chance: number, except?: number): number {
    const total = this.#ends.at(-1) ?? 0
    if (except === undefined) return this.#at(chance * total)
    const start = this.#ends[except - 1] ?? 0
    const end = this.#ends[except] ?? 0
    const point = chance * (total - (end - start))
    const drawn = this.#at(point < start ? point : point + (end - start))
    return this.#weight(drawn) === 0 ? except : drawn
  }

  #weight(index: number): number {
    return (this.#ends[index] ?? 0) - (this.#ends[index - 1] ?? 0)
  }

  /** The first index whose end lies above a point. */
  #at(point: number): number {
    let [low, high] = [0, this.#ends.length - 1]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#ends[middle] ?? 0) > point) high = middle
      else low = middle + 1
    }
    return low
  }
}
