import { assert } from 'chai'
import { seededRandom } from '../../../shared/base/random.ts'
import { LoadBook } from '../../../shared/routing/load.ts'
import { p2c } from '../../../shared/routing/picker.ts'
import type { LeasedInstance } from '../../../shared/stores/lease_store.ts'
import type { Suite } from '../../suite.ts'
import { instance, instances } from './instances.ts'

/** How often each instance is picked in so many draws at equal cost. */
function shares(among: readonly LeasedInstance[], draws: number, seed = 3): number[] {
  const random = seededRandom(seed)
  const pick = p2c(() => 0, random)
  const counts = new Map<string, number>()
  for (let i = 0; i < draws; i++) {
    const id = pick(among)?.id ?? ''
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  return among.map(({ id }) => (counts.get(id) ?? 0) / draws)
}

/** Calls of constant latency at a steady rate, one instance for each weight. @returns each one's share of the calls */
function serve(weights: readonly number[], perSecond: number, latencyMs: (i: number) => number, seconds: number) {
  const random = seededRandom(17)
  let nowMs = 0
  const book = new LoadBook({ now: () => nowMs })
  const among = weights.map((weight, i) => instance(`i${i}`, { weight }))
  const pick = p2c(({ id }, capacity) => book.cost(id, capacity), random)
  const counts = weights.map(() => 0)
  const gaps = weights.map(() => ({ lastMs: 0, longestMs: 0 }))
  let out: { endMs: number; end: () => void }[] = []
  for (let call = 0; nowMs < seconds * 1000; call++) {
    const nextMs = call * 1000 / perSecond
    for (const { end } of out.filter(({ endMs }) => endMs <= nextMs).sort((a, b) => a.endMs - b.endMs)) end()
    out = out.filter(({ endMs }) => endMs > nextMs)
    nowMs = nextMs
    const i = among.indexOf(pick(among) ?? instance(''))
    counts[i] = (counts[i] ?? 0) + 1
    const gap = gaps[i]
    if (gap) Object.assign(gap, { longestMs: Math.max(gap.longestMs, nowMs - gap.lastMs), lastMs: nowMs })
    const begun = book.begin(among[i]?.id ?? '')
    const endMs = nowMs + latencyMs(i)
    out.push({ endMs, end: () => ((nowMs = endMs), book.end(begun, 'answered')) })
  }
  const total = counts.reduce((sum, count) => sum + count, 0)
  return {
    shares: counts.map((count) => count / total),
    longestGapsMs: gaps.map(({ lastMs, longestMs }) => Math.max(longestMs, nowMs - lastMs)),
  }
}

export const pickerSuite: Suite = {
  name: 'routing: power of two choices',
  cases: {
    'none, one, two': () => {
      const pick = p2c(({ id }) => Number(id.slice(1)), seededRandom(1))
      assert.isUndefined(pick([]))
      assert.equal(pick(instances(1))?.id, 'i0')
      for (let i = 0; i < 100; i++) assert.equal(pick(instances(2))?.id, 'i0')
    },

    'the two are distinct, so that the costliest of all is never picked': () => {
      const random = seededRandom(2)
      for (let count = 2; count < 12; count++) {
        const among = instances(count)
        const worst = `i${Math.floor(random() * count)}`
        const pick = p2c(({ id }) => id === worst ? 1 : 0, random)
        for (let i = 0; i < 200; i++) assert.notEqual(pick(among)?.id, worst)
      }
    },

    'at equal cost each is picked as often as any other': () => {
      // Binomial with p = 1/n over N draws: six standard deviations are never seen in a lifetime.
      for (const count of [2, 3, 7, 50]) {
        const draws = 20_000
        const bound = 6 * Math.sqrt((1 / count) * (1 - 1 / count) / draws)
        for (const share of shares(instances(count), draws)) assert.closeTo(share, 1 / count, bound)
      }
    },

    'the fullest of n bins exceeds the mean by log₂ ln n and a little, not by √ as with one choice': () => {
      // Berenbrink et al. 2000: m/n + ln ln n / ln 2 + O(1) for any number of balls m; for n = 1000 that is 2.8 + O(1).
      const [count, balls] = [1000, 20_000]
      const among = instances(count)
      const gap = (choose: (load: Map<string, number>) => string) => {
        const load = new Map<string, number>()
        for (let i = 0; i < balls; i++) {
          const id = choose(load)
          load.set(id, (load.get(id) ?? 0) + 1)
        }
        return Math.max(...load.values()) - balls / count
      }
      const random = seededRandom(4)
      const two = gap((load) => p2c(({ id }) => load.get(id) ?? 0, random)(among)?.id ?? '')
      const one = gap(() => among[Math.floor(random() * count)]?.id ?? '')
      assert.isAtMost(two, Math.log(Math.log(count)) / Math.log(2) + 2)
      // One choice: about sqrt(2 (m/n) ln n) = 16 above the mean.
      assert.isAbove(one, 10)
    },

    'weight 0 gets no calls, unless all are of weight 0': () => {
      const some = [instance('a', { weight: 0 }), instance('b'), instance('c', { weight: 0 })]
      assert.deepEqual(shares(some, 1_000), [0, 1, 0])
      // Not even where it is the cheaper of the two that can be drawn.
      const random = seededRandom(5)
      const pick = p2c(({ weight }) => weight, random)
      for (let i = 0; i < 100; i++) assert.equal(pick(some)?.id, 'b')
      const last = [instance('a', { weight: 0 }), instance('b', { weight: 0.1 }), instance('c', { weight: 0.2 })]
      assert.equal(shares(last, 1_000)[0], 0)
      for (const share of shares(instances(3, { weight: 0 }), 3_000)) assert.closeTo(share, 1 / 3, 0.06)
    },

    'equals share calls in proportion to their weights, idle or busy': () => {
      const cases: [number[], number][] = [
        [[3, 1], 10],
        [[3, 1], 1_000],
        [[1, 1, 1, 1, 6], 20],
        [[1, 1, 1, 1, 6], 2_000],
        [[100, 1, 1, 1], 50],
        [[0.5, 2, 1, 0.1], 200],
        [[3, 1], 1],
        [[10, 1], 1],
        // Weights are relative: only their ratios matter.
        [[300, 100], 10],
        [[0.03, 0.01], 1_000],
      ]
      for (const [weights, perSecond] of cases) {
        const total = weights.reduce((sum, weight) => sum + weight, 0)
        const found = serve(weights, perSecond, () => 20, perSecond > 500 ? 20 : 60).shares
        for (const [i, weight] of weights.entries()) {
          const ratio = (found[i] ?? 0) / (weight / total)
          // Two choices trade the exact proportion for balance. A light one is drawn first or second with a chance of
          // at most w (1 + Σ wⱼ / (1 - wⱼ)), three times its share here, and taken where the heavy one is busy.
          assert.isTrue(
            ratio > 0.5 && ratio < 3,
            `${weights} at ${perSecond}/s: ${found.map((share) => share.toFixed(3))}`,
          )
        }
      }
    },

    'no instance starves: a slow one is tried again when its average has decayed to the others’': () => {
      // An instance of latency M among others of m costs m again after decay · ln(M/m), and is then drawn within a few
      // dozen calls: each draw of two out of n has it with chance 2/n.
      const [slowMs, fastMs, decayMs, perSecond] = [2_000, 20, 10_000, 50]
      const { longestGapsMs, shares } = serve([1, 1, 1, 1, 1], perSecond, (i) => i === 0 ? slowMs : fastMs, 300)
      const boundMs = slowMs + decayMs * Math.log(slowMs / fastMs) + 40 * 1000 / perSecond
      assert.isAtMost(longestGapsMs[0] ?? Infinity, boundMs)
      assert.isBelow(shares[0] ?? 1, 0.002)
      for (const gap of longestGapsMs.slice(1)) assert.isBelow(gap, 2_000)
    },
  },
}
