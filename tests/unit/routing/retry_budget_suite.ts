import { assert } from 'chai'
import { seededRandom } from '../../../shared/base/random.ts'
import { RetryBudget } from '../../../shared/routing/retry_budget.ts'
import type { Suite } from '../../suite.ts'

export const retryBudgetSuite: Suite = {
  name: 'routing: retry budget',
  cases: {
    'however calls arrive, retries stay within 20 % of them, ten a second, and ten at first (seeded)': () => {
      for (let seed = 1; seed <= 30; seed++) {
        const random = seededRandom(seed)
        let nowMs = 0
        const budget = new RetryBudget({ now: () => nowMs })
        const events: { atMs: number; calls: number; retries: number }[] = []
        for (let burst = 0; burst < 60; burst++) {
          nowMs += random() < 0.3 ? 0 : random() ** 3 * 5_000
          const calls = Math.floor(random() ** 4 * 500)
          for (let i = 0; i < calls; i++) budget.deposit()
          // Everything fails, and each attempt asks for another for as long as it is given.
          let retries = 0
          while (budget.withdraw()) retries++
          events.push({ atMs: nowMs, calls, retries })
        }
        // Over any stretch: what its calls earned, what calls before it had earned and was left (which was spent, as
        // all is taken at each burst, so nothing), ten a second, and at most the ten that may have been saved up.
        for (let from = 0; from < events.length; from++) {
          let [calls, retries] = [0, 0]
          for (let to = from; to < events.length; to++) {
            calls += events[to]?.calls ?? 0
            retries += events[to]?.retries ?? 0
            const seconds = ((events[to]?.atMs ?? 0) - (events[from]?.atMs ?? 0)) / 1000
            const bound = 0.2 * calls + 10 * seconds + 10 + 1
            if (retries > bound) assert.fail(`seed ${seed}, bursts ${from} to ${to}: ${retries} > ${bound}`)
          }
        }
      }
    },

    'a steady failure is amplified by 1.2 at most, and by nearly that': () => {
      let nowMs = 0
      const budget = new RetryBudget({ now: () => nowMs })
      let retries = 0
      const calls = 60_000
      for (let i = 0; i < calls; i++) {
        nowMs += 1
        budget.deposit()
        if (budget.withdraw()) retries++
      }
      const amplification = 1 + (retries - 10 * nowMs / 1000 - 10) / calls
      assert.isAtMost(amplification, 1.2)
      assert.isAbove(amplification, 1.19)
    },

    'a quiet client may retry: ten at once, then ten a second': () => {
      let nowMs = 0
      const budget = new RetryBudget({ now: () => nowMs })
      const take = () => {
        let taken = 0
        while (budget.withdraw()) taken++
        return taken
      }
      assert.equal(take(), 10)
      nowMs += 500
      assert.equal(take(), 5)
      nowMs += 3_600_000
      assert.equal(take(), 10)
    },

    'what calls earned is not kept for a storm hours later': () => {
      let nowMs = 0
      const budget = new RetryBudget({ now: () => nowMs })
      for (let i = 0; i < 10_000; i++) budget.deposit()
      nowMs += 120_000
      let taken = 0
      while (budget.withdraw()) taken++
      assert.equal(taken, 10)
    },

    'a clock that goes back gives nothing': () => {
      let nowMs = 10_000
      const budget = new RetryBudget({ now: () => nowMs })
      while (budget.withdraw());
      nowMs = 0
      assert.isFalse(budget.withdraw())
      nowMs = 100
      assert.isTrue(budget.withdraw())
    },
  },
}
