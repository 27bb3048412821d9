import { assert } from 'chai'
import { type Random, seededRandom } from '../../../shared/base/random.ts'
import { LoadBook } from '../../../shared/routing/load.ts'
import { least, type Picker, roundRobin, weightedRandom } from '../../../shared/routing/picker.ts'
import { subsetOf, Subsets } from '../../../shared/routing/subset.ts'
import { BALANCERS } from '../../../shared/routing/balancers.ts'
import { hashText } from '../../../shared/routing/hash.ts'
import type { LeasedInstance } from '../../../shared/stores/lease_store.ts'
import type { Suite } from '../../suite.ts'
import { instance, instances } from './instances.ts'

function weighted(weights: readonly number[]): LeasedInstance[] {
  return weights.map((weight, i) => instance(`i${i}`, { weight }))
}

/** How often each is picked. */
function counts(pick: Picker, among: readonly LeasedInstance[], draws: number): number[] {
  const times = new Map<string, number>()
  for (let i = 0; i < draws; i++) {
    const id = pick(among)?.id ?? ''
    times.set(id, (times.get(id) ?? 0) + 1)
  }
  return among.map(({ id }) => times.get(id) ?? 0)
}

const randomWeights = (random: Random) =>
  Array.from({ length: 1 + Math.floor(random() * 9) }, () => random() < 0.15 ? 0 : 0.1 + random() ** 2 * 10)

export const balancersSuite: Suite = {
  name: 'routing: balancers',
  cases: {
    'every balancer picks one of the instances, none of weight 0 while there are others, and none of none (seeded)':
      () => {
        for (const [name, make] of Object.entries(BALANCERS)) {
          const random = seededRandom(6)
          const book = new LoadBook({ now: () => 0 })
          const pick = make({ book, random })
          assert.isUndefined(pick([]), name)
          for (let round = 0; round < 200; round++) {
            const among = weighted(randomWeights(random))
            const willing = among.filter(({ weight }) => weight > 0)
            const picked = pick(among, random() < 0.5 ? `key ${round}` : undefined)
            // A list of one is not looked at: the matcher leaves the unwilling out before.
            if (picked && among.length > 1 && willing.length > 0) assert.include(willing, picked, name)
            else assert.include(among, picked, name)
            if (picked) book.begin(picked.id)
          }
        }
      },

    'round robin: over any stretch equals are picked equally often, one more or less': () => {
      for (const count of [2, 3, 7, 20]) {
        const among = instances(count)
        const pick = roundRobin(seededRandom(count))
        const times = counts(pick, among, 10 * count + Math.floor(count / 2))
        assert.isAtMost(Math.max(...times) - Math.min(...times), 1)
      }
    },

    'round robin: whatever the weights, each has its share of the picks, two more or less (seeded)': () => {
      for (let seed = 1; seed <= 40; seed++) {
        const random = seededRandom(seed)
        const weights = randomWeights(random)
        const among = weighted(weights)
        const pick = roundRobin(random)
        // In R rounds an instance of weight w has R·w/max turns, one more or less; a stretch begins and ends within rounds.
        const draws = 500
        const total = weights.reduce((sum, weight) => sum + weight, 0) || among.length
        const times = counts(pick, among, draws)
        // The number of rounds is that of turns over all, each of which may be off by one.
        const max = Math.max(...weights) || 1
        const rounds = draws * max / total
        for (const [i, weight] of weights.entries()) {
          const part = (total === among.length && max === 1 ? 1 : weight) / max
          const slack = 2 + among.length * max / total
          assert.closeTo(times[i] ?? 0, rounds * part, slack, `seed ${seed}: ${weights} ${times}`)
        }
      }
    },

    'round robin: many callers do not go in step': () => {
      const among = instances(100)
      const firsts = Array.from({ length: 100 }, (_, seed) => roundRobin(seededRandom(seed))(among)?.id)
      // Each begins anywhere: of 100 places about 63 are hit.
      assert.isAbove(new Set(firsts).size, 45)
    },

    'random: each has its share, within six standard deviations': () => {
      const weights = [1, 2, 3, 0, 4]
      const draws = 20_000
      const times = counts(weightedRandom(seededRandom(9)), weighted(weights), draws)
      for (const [i, weight] of weights.entries()) {
        const share = weight / 10
        assert.closeTo((times[i] ?? 0) / draws, share, 6 * Math.sqrt(share * (1 - share) / draws))
      }
    },

    'least loaded: calls that do not end spread in proportion to weights, one more or less': () => {
      const weights = [1, 1, 2, 4]
      const among = weighted(weights)
      const out = new Map<string, number>()
      const pick = least(({ id }, capacity) => (1 + (out.get(id) ?? 0)) / capacity, seededRandom(3))
      const calls = 800
      for (let i = 0; i < calls; i++) {
        const id = pick(among)?.id ?? ''
        out.set(id, (out.get(id) ?? 0) + 1)
      }
      // Each call goes where (1 + n) / w is least, so that no two of those differ by more than one call's worth.
      for (const [i, weight] of weights.entries()) assert.closeTo(out.get(`i${i}`) ?? 0, calls * weight / 8, weight)
    },

    'least loaded: of equals any may be the first': () => {
      const pick = least(() => 1, seededRandom(5))
      for (const times of counts(pick, instances(4), 4_000)) assert.closeTo(times / 4_000, 1 / 4, 0.05)
    },

    'a subset is of the size asked for, the same each time, and changes by one when one instance comes or goes': () => {
      const random = seededRandom(8)
      for (let round = 0; round < 50; round++) {
        const all = instances(20 + Math.floor(random() * 80))
        const size = 5 + Math.floor(random() * 15)
        const caller = hashText(`caller ${round}`)
        const part = subsetOf(all, size, caller)
        assert.equal(new Set(part).size, size)
        assert.deepEqual(subsetOf(all.toReversed(), size, caller), part)
        const gone = all[Math.floor(random() * all.length)]
        const after = subsetOf(all.filter((one) => one !== gone), size, caller)
        const lost = part.filter((one) => !after.includes(one))
        assert.deepEqual(lost, gone && part.includes(gone) ? [gone] : [])
      }
      const few = instances(5)
      assert.strictEqual(subsetOf(few, 5, 1), few)
      const many = instances(50)
      const subsets = new Subsets(10, 'a')
      assert.strictEqual(subsets.of(many), subsets.of(many))
      assert.strictEqual(subsets.of(few), few)
    },

    'together the subsets of many callers cover all instances alike': () => {
      const [callers, count, size] = [1_000, 50, 10]
      const all = instances(count)
      const times = new Map<string, number>()
      for (let caller = 0; caller < callers; caller++) {
        for (const { id } of subsetOf(all, size, hashText(`gateway-${caller}`))) times.set(id, (times.get(id) ?? 0) + 1)
      }
      // Binomial with p = size / n over the callers: six standard deviations.
      const share = size / count
      const bound = 6 * Math.sqrt(callers * share * (1 - share))
      for (const { id } of all) assert.closeTo(times.get(id) ?? 0, callers * share, bound)
    },
  },
}
