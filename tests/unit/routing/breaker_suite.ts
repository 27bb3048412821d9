import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { Breaker, type CallOutcome } from '../../../shared/routing/breaker.ts'
import type { Suite } from '../../suite.ts'

const SECOND = 1_000

/** A breaker, and calls of no length. */
class Bench {
  nowMs = 1_000_000
  readonly changes: string[] = []
  readonly breaker: Breaker

  constructor(seed = 1) {
    this.breaker = new Breaker(seededRandom(seed), (to) => this.changes.push(to))
  }

  /** @returns whether it was let through */
  call(outcome: CallOutcome): boolean {
    const admission = this.breaker.admit(this.nowMs)
    if (admission === undefined) return false
    this.breaker.record(admission, outcome, this.nowMs)
    return true
  }

  /** Calls of one outcome, so far apart. @returns how many were let through */
  calls(count: number, outcome: CallOutcome, everyMs = 0): number {
    let passed = 0
    for (let i = 0; i < count; i++) {
      if (this.call(outcome)) passed++
      this.nowMs += everyMs
    }
    return passed
  }
}

export const breakerSuite: Suite = {
  name: 'routing: circuit breaker',
  cases: {
    'it opens exactly when half of at least 20 calls of the last ten seconds failed (seeded)': () => {
      let opened = 0
      for (let seed = 1; seed <= 200; seed++) {
        const random = seededRandom(seed)
        const bench = new Bench(seed)
        const failureRate = random()
        const seen: { second: number; failed: boolean }[] = []
        for (let i = 0; i < 400 && bench.breaker.state === 'closed'; i++) {
          bench.nowMs += random() ** 2 * 800
          const failed = random() < failureRate
          bench.call(failed ? 'failed' : 'answered')
          // By definition: the window is cut in seconds, and this one and the nine before it count.
          const second = Math.floor(bench.nowMs / SECOND)
          seen.push({ second, failed })
          const recent = seen.filter((call) => call.second > second - 10)
          const failures = recent.filter((call) => call.failed).length
          const expected = failed && recent.length >= 20 && 2 * failures >= recent.length
          assert.equal(bench.breaker.state, expected ? 'open' : 'closed', `seed ${seed}, call ${i}`)
        }
        if (bench.breaker.state === 'open') opened++
      }
      assert.isTrue(opened > 40 && opened < 190, `${opened} of 200 opened`)
    },

    'what was long ago does not count, though nothing came since': () => {
      const bench = new Bench()
      for (let i = 0; i < 20; i++) {
        bench.calls(19, 'failed')
        bench.nowMs += 10 * SECOND
      }
      assert.deepEqual(bench.changes, [])
      // A day without a call, and the window is as new.
      bench.calls(19, 'failed')
      bench.nowMs += 86_400 * SECOND
      bench.calls(19, 'failed')
      assert.equal(bench.breaker.state, 'closed')
      bench.calls(1, 'failed')
      assert.equal(bench.breaker.state, 'open')
    },

    'while all fails, a probe every four to six seconds is all that gets through (seeded)': () => {
      for (let seed = 1; seed <= 20; seed++) {
        const bench = new Bench(seed)
        const seconds = 120
        const passed = bench.calls(seconds * 100, 'failed', 10)
        // Twenty open it; from then on one for each time that it was open, 5 s ± 20 %, found at the next call, 10 ms on.
        const leastMs = DEFAULTS.breakerOpenMs * (1 - DEFAULTS.breakerJitter)
        const mostMs = DEFAULTS.breakerOpenMs * (1 + DEFAULTS.breakerJitter) + 10
        assert.isAtMost(passed, 20 + Math.ceil(seconds * SECOND / leastMs))
        assert.isAtLeast(passed, 20 + Math.floor((seconds * SECOND - 200) / mostMs))
      }
    },

    'three probes answered in a row close it, one at a time; all is forgotten then': () => {
      const bench = new Bench()
      bench.calls(20, 'failed')
      bench.nowMs += 6 * SECOND
      for (let probe = 0; probe < 3; probe++) {
        const admission = bench.breaker.admit(bench.nowMs) ?? assert.fail('not let through')
        assert.equal(bench.breaker.state, 'half_open')
        for (let i = 0; i < 5; i++) assert.isUndefined(bench.breaker.admit(bench.nowMs))
        assert.equal(bench.breaker.retryAfterMs(bench.nowMs), DEFAULTS.breakerProbeWaitMs)
        bench.breaker.record(admission, 'answered', bench.nowMs)
      }
      assert.deepEqual(bench.changes, ['open', 'half_open', 'closed'])
      bench.calls(19, 'failed')
      assert.equal(bench.breaker.state, 'closed')
    },

    'a probe that fails opens it again; one that its caller gave up makes room for the next': () => {
      const bench = new Bench()
      bench.calls(20, 'failed')
      bench.nowMs += 6 * SECOND
      bench.calls(2, 'answered')
      bench.calls(10, undefined)
      assert.equal(bench.breaker.state, 'half_open')
      bench.calls(1, 'failed')
      assert.deepEqual(bench.changes, ['open', 'half_open', 'open'])
      assert.isAtLeast(bench.breaker.retryAfterMs(bench.nowMs), 4 * SECOND)
      assert.equal(bench.calls(10, 'answered'), 0)
    },

    'answers to calls from before it opened do not close it, nor do failures open it again': () => {
      const bench = new Bench()
      const old = Array.from({ length: 50 }, () => bench.breaker.admit(bench.nowMs) ?? assert.fail('not let through'))
      bench.calls(20, 'failed')
      bench.nowMs += 6 * SECOND
      const probe = bench.breaker.admit(bench.nowMs) ?? assert.fail('not let through')
      for (const [i, admission] of old.entries()) {
        bench.breaker.record(admission, i % 2 === 0 ? 'answered' : 'failed', bench.nowMs)
      }
      assert.equal(bench.breaker.state, 'half_open')
      assert.isUndefined(bench.breaker.admit(bench.nowMs))
      bench.breaker.record(probe, 'answered', bench.nowMs)
      bench.calls(2, 'answered')
      assert.equal(bench.breaker.state, 'closed')
    },
  },
}
