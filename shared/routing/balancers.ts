import type { Random } from '../base/random.ts'
import { consistentHash } from './consistent_hash.ts'
import type { LoadBook } from './load.ts'
import { type Cost, least, p2c, type Picker, roundRobin, weightedRandom } from './picker.ts'

/** What a balancer may be made of. */
export interface BalancerDeps {
  /** What is known of the instances of one service. */
  book: LoadBook
  random: Random
}

/** Expected time of the work ahead. */
const peakEwma = ({ book }: BalancerDeps): Cost => ({ id }, capacity) => book.cost(id, capacity)
/** Calls out, with the one to come. */
const outstanding = ({ book }: BalancerDeps): Cost => ({ id }, capacity) => (1 + book.outstanding(id)) / capacity

/** Each is a picker over a cost, or a picker alone. One is made for each service that asks for it. */
export const BALANCERS = {
  peak_ewma: (deps) => p2c(peakEwma(deps), deps.random),
  least_loaded: (deps) => least(outstanding(deps), deps.random),
  round_robin: ({ random }) => roundRobin(random),
  random: ({ random }) => weightedRandom(random),
  consistent_hash: ({ book, random }) => consistentHash(({ id }) => book.outstanding(id), random),
} satisfies Record<string, (deps: BalancerDeps) => Picker>

export type BalancerName = keyof typeof BALANCERS

export const DEFAULT_BALANCER: BalancerName = 'peak_ewma'
/** Of calls that have a hash key and name no other. */
export const KEYED_BALANCER: BalancerName = 'consistent_hash'

export function isBalancer(name: string): name is BalancerName {
  return Object.hasOwn(BALANCERS, name)
}
