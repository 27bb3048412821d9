import { assert } from 'chai'
import { seededRandom } from '../../../shared/base/random.ts'
import { LoadBook } from '../../../shared/routing/load.ts'
import type { Verdict } from '../../../shared/routing/verdict.ts'
import type { Suite } from '../../suite.ts'

const DECAY_MS = 10_000

class Bench {
  nowMs = 1_000_000
  readonly book = new LoadBook({ now: () => this.nowMs }, DECAY_MS)

  /** One call that ends after so long. */
  call(id: string, tookMs: number, outcome: Verdict = 'answered'): void {
    const call = this.book.begin(id)
    this.nowMs += tookMs
    this.book.end(call, outcome)
  }
}

export const loadSuite: Suite = {
  name: 'routing: load book',
  cases: {
    'nothing known costs nothing; a first call out costs more than anything known': () => {
      const { book, ...bench } = new Bench()
      assert.equal(book.cost('a'), 0)
      book.begin('a')
      assert.isAbove(book.cost('a'), 1e9)
      assert.equal(bench.nowMs, 1_000_000)
    },

    'a stream that goes on costs as much as a call that is out, but nothing for its length': () => {
      const bench = new Bench()
      bench.call('a', 10)
      const before = bench.book.cost('a')
      const end = bench.book.beginStream('a')
      assert.closeTo(bench.book.cost('a'), 2 * before + 1, 0.01)
      bench.nowMs += 60_000
      assert.isBelow(bench.book.cost('a'), 2 * before + 1)
      // An instance that leaves the table is remembered as long as it has one.
      bench.book.keepOnly(new Set())
      assert.deepEqual([bench.book.size, bench.book.outstanding('a')], [1, 1])
      end()
      end()
      assert.equal(bench.book.outstanding('a'), 0)
      bench.book.keepOnly(new Set())
      assert.equal(bench.book.size, 0)
    },

    'a slow answer counts at once, fast ones bring it down over the decay time': () => {
      const bench = new Bench()
      bench.call('a', 10)
      assert.closeTo(bench.book.cost('a'), 10, 0.01)
      bench.call('a', 500)
      assert.closeTo(bench.book.cost('a'), 500, 0.01)
      // Answers of 10 ms for one decay time: what is left of the peak is 1/e, and the rest is 10.
      for (let i = 0; i < DECAY_MS / 10; i++) bench.call('a', 10)
      assert.closeTo(bench.book.cost('a'), 500 / Math.E + 10 * (1 - 1 / Math.E), 2)
    },

    'the average stays between the least and the greatest latency, and decays when idle (seeded)': () => {
      for (let seed = 1; seed <= 20; seed++) {
        const random = seededRandom(seed)
        const bench = new Bench()
        let [least, greatest] = [Infinity, 0]
        for (let i = 0; i < 300; i++) {
          const tookMs = 1 + random() ** 3 * 1000
          least = Math.min(least, tookMs)
          greatest = Math.max(greatest, tookMs)
          bench.call('a', tookMs)
          // Each observation is a maximum or a weighted mean of what was and what came.
          const cost = bench.book.cost('a')
          assert.isTrue(cost >= least - 1e-6 && cost <= greatest + 1e-6, `seed ${seed}: ${least} ${cost} ${greatest}`)
          bench.nowMs += random() * 1000
          assert.isAtMost(bench.book.cost('a'), cost)
        }
      }
    },

    'cost rises with every call that is out': () => {
      const bench = new Bench()
      bench.call('a', 20)
      let last = bench.book.cost('a')
      const ends = Array.from({ length: 10 }, () => {
        const call = bench.book.begin('a')
        assert.isAbove(bench.book.cost('a'), last)
        last = bench.book.cost('a')
        return call
      })
      for (const call of ends) {
        bench.book.end(call, 'answered')
        assert.isBelow(bench.book.cost('a'), last)
        last = bench.book.cost('a')
      }
    },

    'a call that is out for longer than any answer took counts as the slow answer it will be': () => {
      const bench = new Bench()
      bench.call('a', 20)
      bench.book.begin('a')
      bench.nowMs += 5_000
      assert.isAtLeast(bench.book.cost('a'), 2 * 5_000)
      // Not so after it is answered elsewhere: without it the old average would have decayed to 12.
      bench.nowMs += 60_000
      assert.isAtLeast(bench.book.cost('a'), 2 * 65_000)
    },

    'a failure counts as no quicker than what is usual for the service': () => {
      const bench = new Bench()
      for (let i = 0; i < 100; i++) bench.call('b', 200)
      for (let i = 0; i < 10; i++) bench.call('a', 1, 'failed')
      assert.closeTo(bench.book.cost('a'), 200, 0.1)
      // Nor does it make a slow one look quick.
      bench.call('c', 900)
      bench.call('c', 1, 'failed')
      assert.closeTo(bench.book.cost('c'), 900, 1)
      bench.call('c', 1_500, 'failed')
      assert.closeTo(bench.book.cost('c'), 1_500, 1)
    },

    'a refusal doubles the cost, from what is usual for the service, however fast it came': () => {
      const bench = new Bench()
      for (let i = 0; i < 100; i++) bench.call('b', 200)
      bench.call('a', 1, 'refused')
      assert.closeTo(bench.book.cost('a'), 400, 0.1)
      bench.call('a', 1, 'refused')
      assert.closeTo(bench.book.cost('a'), 800, 0.2)
      // It decays as any average does: at 200 again after 10 s · ln 4.
      bench.nowMs += DECAY_MS * Math.log(4)
      assert.closeTo(bench.book.cost('a'), 200, 0.1)
      // However many there are, it is back in a foreseeable time.
      for (let i = 0; i < 2_000; i++) bench.call('a', 0, 'refused')
      assert.closeTo(bench.book.cost('a'), 60_000, 1)
      // One that took longer than that counts as long as it took.
      bench.call('c', 100_000, 'refused')
      assert.closeTo(bench.book.cost('c'), 100_000, 1)
    },

    'calls may end in any order: the oldest that is left counts': () => {
      const bench = new Bench()
      bench.call('a', 1)
      const calls = Array.from({ length: 4 }, () => {
        bench.nowMs += 100
        return bench.book.begin('a')
      })
      const [first, second, third, fourth] = calls
      const costOf = (calls: number, waitedMs: number) =>
        assert.closeTo(bench.book.cost('a'), waitedMs * (1 + calls) + calls, 0.1)
      bench.nowMs += 100
      costOf(4, 400)
      if (second) bench.book.end(second, 'given up')
      costOf(3, 400)
      if (first) bench.book.end(first, 'given up')
      // The average now knows of the 400 ms.
      bench.nowMs += 10_000
      costOf(2, 10_200)
      if (fourth) bench.book.end(fourth, 'given up')
      costOf(1, 10_200)
      if (third) bench.book.end(third, 'given up')
      assert.equal(bench.book.outstanding('a'), 0)
    },

    'a caller that gives up at once tells nothing: the average falls as it would by itself': () => {
      const [told, untold] = [new Bench(), new Bench()]
      for (const bench of [told, untold]) bench.call('a', 100)
      for (let i = 0; i < 50; i++) {
        told.call('a', 1)
        untold.nowMs += 1
        told.nowMs += 100
        untold.nowMs += 100
        assert.isAtLeast(told.book.cost('a'), untold.book.cost('a') - 1e-9)
      }
    },

    'a call ends once': () => {
      const bench = new Bench()
      const call = bench.book.begin('a')
      bench.nowMs += 10
      bench.book.end(call, 'answered')
      bench.nowMs += 1_000
      bench.book.end(call, 'failed')
      assert.equal(bench.book.outstanding('a'), 0)
      assert.isBelow(bench.book.cost('a'), 10.1)
    },

    'capacity divides the cost of outstanding calls and the time until an instance is tried again': () => {
      const bench = new Bench()
      for (const id of ['light', 'heavy']) bench.call(id, 0)
      for (const id of ['light', 'heavy']) bench.call(id, 20)
      bench.nowMs += 1_000
      assert.closeTo(Math.log(bench.book.cost('heavy', 4) / bench.book.cost('heavy', 1)), -0.3, 0.001)
      for (const id of ['light', 'heavy', 'heavy', 'heavy', 'heavy']) bench.book.begin(id)
      assert.closeTo(bench.book.cost('heavy', 4) / bench.book.cost('light', 1), Math.exp(-0.3), 0.05)
    },

    'instances that are gone are forgotten once their calls have ended': () => {
      const bench = new Bench()
      bench.call('gone', 10)
      bench.call('here', 10)
      const call = bench.book.begin('busy')
      bench.book.keepOnly(new Set(['here']))
      assert.equal(bench.book.size, 2)
      bench.book.end(call, 'failed')
      bench.book.keepOnly(new Set(['here']))
      assert.equal(bench.book.size, 1)
      assert.equal(bench.book.cost('gone'), 0)
      assert.isAbove(bench.book.cost('here'), 0)
    },
  },
}
