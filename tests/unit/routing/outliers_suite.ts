import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { Outliers } from '../../../shared/routing/outliers.ts'
import type { Suite } from '../../suite.ts'
import { instances } from './instances.ts'

const BASE_MS = DEFAULTS.ejectionBaseMs

/** Fails so often in a row. @returns whether it was ejected by the last */
function fail(outliers: Outliers, id: string, set: ReturnType<typeof instances>, nowMs: number, times = 5): boolean {
  let ejected = false
  for (let i = 0; i < times; i++) ejected = outliers.failed(id, set, nowMs) === 'ejected'
  return ejected
}

export const outliersSuite: Suite = {
  name: 'routing: outlier ejection',
  cases: {
    'five failures in a row eject, for thirty seconds; a success between them does not': () => {
      const outliers = new Outliers()
      const set = instances(4)
      for (let i = 0; i < 10; i++) {
        assert.isFalse(fail(outliers, 'i0', set, 0, 4))
        outliers.succeeded('i0')
      }
      assert.strictEqual(outliers.without(set, 0), set)
      assert.isTrue(fail(outliers, 'i0', set, 0))
      assert.deepEqual(outliers.without(set, 0).map(({ id }) => id), ['i1', 'i2', 'i3'])
      // The same list again: what pickers have computed of it stays with it.
      assert.strictEqual(outliers.without(set, 1), outliers.without(set, BASE_MS - 1))
      assert.strictEqual(outliers.without(set, BASE_MS), set)
    },

    'however calls end, at least half of the set is left, and nobody out who did not fail five times (seeded)': () => {
      let most = 0
      for (let seed = 1; seed <= 40; seed++) {
        const random = seededRandom(seed)
        const outliers = new Outliers()
        const all = instances(1 + Math.floor(random() * 9))
        let set = all
        const inARow = new Map<string, number>()
        let nowMs = 0
        for (let i = 0; i < 600; i++) {
          nowMs += random() ** 4 * 40_000
          // Instances come and go: what is left must be half of those that there are.
          if (random() < 0.05) {
            set = all.filter(() => random() < 0.8)
            outliers.keepOnly(new Set(set.map(({ id }) => id)))
          }
          const left = outliers.without(set, nowMs)
          assert.isAtLeast(left.length, set.length / 2, `seed ${seed}`)
          most = Math.max(most, set.length - left.length)
          const one = left[Math.floor(random() * left.length)]
          if (!one) continue
          if (random() < 0.7) {
            const failures = (inARow.get(one.id) ?? 0) + 1
            inARow.set(one.id, failures)
            if (outliers.failed(one.id, set, nowMs) === 'ejected') assert.isAtLeast(failures, 5)
          } else {
            inARow.set(one.id, 0)
            outliers.succeeded(one.id)
          }
        }
      }
      assert.isAbove(most, 2)
    },

    'one that never recovers is tried ever less often': () => {
      const outliers = new Outliers()
      const set = instances(2)
      let calls = 0
      const minutes = 60
      for (let nowMs = 0; nowMs < minutes * 60_000; nowMs += 100) {
        if (outliers.without(set, nowMs).length < 2) continue
        calls++
        outliers.failed('i0', set, nowMs)
      }
      // Out for 30, 60, … 300 s, 1,650 s in all, and from then on for 300 s each: in an hour that begins
      // 10 + ⌈(3600 - 1650) / 300⌉ = 17 times, with five calls each.
      assert.isAtMost(calls, 5 * 17)
      assert.isAbove(calls, 5 * 15)
    },

    'flapping backs off, calm is forgiven step by step': () => {
      const outliers = new Outliers()
      const set = instances(2)
      let nowMs = 0
      const ejectedMs = () => {
        assert.isTrue(fail(outliers, 'i0', set, nowMs))
        const fromMs = nowMs
        while (outliers.without(set, nowMs).length < 2) nowMs += 1_000
        return nowMs - fromMs
      }
      // Well for a moment after each ejection, then failing again.
      const flaps = Array.from({ length: 12 }, () => {
        outliers.succeeded('i0')
        nowMs += 5_000
        return ejectedMs() / BASE_MS
      })
      assert.deepEqual(flaps, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10])
      // Well for as long as it was out last, and as long as the time before that: two are forgiven.
      nowMs += (10 + 9) * BASE_MS
      assert.equal(ejectedMs() / BASE_MS, 9)
      nowMs += 86_400_000
      assert.equal(ejectedMs() / BASE_MS, 1)
    },

    'answers to calls from before its ejection change nothing': () => {
      const outliers = new Outliers()
      const set = instances(4)
      fail(outliers, 'i0', set, 0)
      assert.isFalse(fail(outliers, 'i0', set, 1_000, 50))
      outliers.succeeded('i0')
      assert.equal(outliers.without(set, BASE_MS - 1).length, 3)
      assert.equal(outliers.without(set, BASE_MS).length, 4)
      assert.isFalse(fail(outliers, 'i0', set, BASE_MS, 4))
    },

    'an instance alone is never out; of three, one': () => {
      const outliers = new Outliers()
      assert.isFalse(fail(outliers, 'i0', instances(1), 0, 100))
      assert.equal(outliers.failed('i0', instances(1), 0), 'spared')
      const three = instances(3)
      const ejected = three.map(({ id }) => fail(outliers, id, three, 0, 100))
      assert.deepEqual([ejected.length, outliers.without(three, 0).length, outliers.ejected(0)], [3, 2, 1])
    },

    'who is gone is forgotten, and so is who is well': () => {
      const outliers = new Outliers()
      const set = instances(8)
      for (const { id } of set) fail(outliers, id, set, 0)
      assert.equal(outliers.ejected(0), 4)
      outliers.keepOnly(new Set(['i0', 'i1', 'i7']))
      assert.equal(outliers.size, 3)
      for (const { id } of set) outliers.succeeded(id)
      // With the next ejection, long after, only those are remembered that it concerns.
      fail(outliers, 'i7', set, 86_400_000)
      assert.equal(outliers.size, 1)
    },
  },
}
