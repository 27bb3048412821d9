import type { LeasedInstance } from '../stores/lease_store.ts'

/** Tables stay the same for many calls, so each is added up once. */
const urns = new WeakMap<readonly LeasedInstance[], Urn>()

/** The weights of some instances. The same list gives the same urn again. */
export function urnOf(instances: readonly LeasedInstance[]): Urn {
  let urn = urns.get(instances)
  if (!urn) urns.set(instances, urn = new Urn(instances.map(({ weight }) => weight)))
  return urn
}

/** Draws indexes in proportion to weights; evenly if all are 0. */
export class Urn {
  /** Sum of the weights up to and including each. */
  readonly #ends: Float64Array
  /** The greatest of them. */
  readonly maxWeight: number

  constructor(weights: readonly number[]) {
    const isEmpty = weights.every((weight) => weight === 0)
    let end = 0
    let max = 0
    this.#ends = Float64Array.from(weights, (given) => {
      const weight = isEmpty ? 1 : given
      max = Math.max(max, weight)
      return end += weight
    })
    this.maxWeight = max
  }

  /** The weight of an index, divided by the mean weight. */
  capacity(index: number): number {
    return this.weight(index) * this.#ends.length / (this.#ends.at(-1) ?? 1)
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
    return this.weight(drawn) === 0 ? except : drawn
  }

  weight(index: number): number {
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
