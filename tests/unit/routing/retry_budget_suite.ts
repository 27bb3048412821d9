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

    'while no call is answered in the end the 20 % alone remain, at any rate of calls': () => {
      for (const perSecond of [1, 2, 10, 100, 1_000]) {
        let nowMs = 0
        const budget = new RetryBudget({ now: () => nowMs })
        let retries = 0
        const calls = 100 * perSecond
        const call = (outcome: 'answered' | 'failed', attempts: number) => {
          nowMs += 1_000 / perSecond
          budget.deposit()
          let more = attempts - 1
          while (more-- > 0 && budget.withdraw()) retries++
          budget.record(outcome)
        }
        for (let i = 0; i < calls; i++) call('answered', 1)
        for (let i = 0; i < 6 * calls; i++) call('failed', 3)
        // Beyond a fifth: the ten that were saved up, what 20 % of the answered calls had earned (over ten seconds), and
        // ten a second times e^(-t/10): 100 while it is forgotten that calls were answered.
        assert.isAtMost(retries, 0.2 * 6 * calls + 10 + 2 * perSecond + 100 + 1, `${perSecond} calls a second`)
        retries = 0
        for (let i = 0; i < calls; i++) call('failed', 3)
        // In the long run what is free is at most 10 · 0.01 / (calls ended of late, a little under ten seconds' worth).
        assert.isAtMost(retries / calls, 0.2 + 0.012, `${perSecond} calls a second`)
        assert.isAbove(retries / calls, perSecond < 10 ? 0.1 : 0.19, 'a fifth remains')
        // It is answered again, and retries are free again.
        for (let i = 0; i < 20 * perSecond; i++) call('answered', 1)
        nowMs += 1_000
        let taken = 0
        while (taken <= 10 && budget.withdraw()) taken++
        assert.isAtLeast(taken, 10)
      }
    },

    'a quiet client may retry a minute after a failure': () => {
      let nowMs = 0
      const budget = new RetryBudget({ now: () => nowMs })
      while (budget.withdraw());
      budget.record('failed')
      nowMs += 60_000
      assert.isTrue(budget.withdraw())
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
