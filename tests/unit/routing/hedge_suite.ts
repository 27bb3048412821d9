import { assert } from 'chai'
import { seededRandom } from '../../../shared/base/random.ts'
import { hedge } from '../../../shared/routing/hedge.ts'
import { LatencyQuantile } from '../../../shared/routing/latency_quantile.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { VirtualTime } from '../virtual_time.ts'

type Ending = { afterMs: number; error?: RpcError }

/** Two attempts that end as told. */
class Bench {
  readonly time = new VirtualTime()
  readonly begun: number[] = []
  readonly cancelled: string[] = []
  readonly caller = new AbortController()

  run(endings: readonly [Ending, Ending], mayHedge = true): Promise<string> {
    const run = hedge(
      { clock: this.time, signal: this.caller.signal, delayMs: 100, mayHedge: () => mayHedge },
      (signal, isSecond) => {
        this.begun.push(this.time.now())
        const { afterMs, error } = endings[isSecond ? 1 : 0]
        return new Promise<string>((resolve, reject) => {
          const cancel = this.time.after(afterMs, () => error ? reject(error) : resolve(isSecond ? 'second' : 'first'))
          signal.addEventListener('abort', () => {
            cancel()
            this.cancelled.push(isSecond ? 'second' : 'first')
            reject(signal.reason)
          })
        })
      },
    )
    run.catch(() => {})
    return run
  }

  async outcome(run: Promise<string>): Promise<string> {
    await this.time.advance(10_000)
    const outcome = await run.catch((error: RpcError) => error.message)
    assert.equal(this.time.pending, 0, 'timers')
    return outcome
  }
}

const error = (message: string) => new RpcError('unavailable', message)

export const hedgeSuite: Suite = {
  name: 'routing: hedge',
  cases: {
    'the answer that comes first is taken, and the other attempt cancelled': async () => {
      const cases: [Ending, Ending, string, number[], string[]][] = [
        [{ afterMs: 50 }, { afterMs: 0 }, 'first', [0], []],
        [{ afterMs: 150 }, { afterMs: 100 }, 'first', [0, 100], ['second']],
        [{ afterMs: 500 }, { afterMs: 100 }, 'second', [0, 100], ['first']],
        // One that fails loses to one that is still under way.
        [{ afterMs: 500 }, { afterMs: 10, error: error('b') }, 'first', [0, 100], []],
        [{ afterMs: 110, error: error('a') }, { afterMs: 100 }, 'second', [0, 100], []],
        // Both fail, in either order: what failed first is told.
        [{ afterMs: 150, error: error('a') }, { afterMs: 100, error: error('b') }, 'a', [0, 100], []],
        [{ afterMs: 500, error: error('a') }, { afterMs: 100, error: error('b') }, 'b', [0, 100], []],
        // Failed before the delay was over: to try again is another's to do.
        [{ afterMs: 50, error: error('a') }, { afterMs: 0 }, 'a', [0], []],
      ]
      for (const [first, second, expected, begun, cancelled] of cases) {
        const bench = new Bench()
        const run = bench.run([first, second])
        assert.equal(await bench.outcome(run), expected)
        assert.deepEqual([bench.begun, bench.cancelled], [begun, cancelled], JSON.stringify([first, second]))
      }
    },

    'without leave there is no second': async () => {
      const bench = new Bench()
      assert.equal(await bench.outcome(bench.run([{ afterMs: 500 }, { afterMs: 0 }], false)), 'first')
      assert.deepEqual(bench.begun, [0])
    },

    'a caller that goes away ends both': async () => {
      const bench = new Bench()
      const run = bench.run([{ afterMs: 500 }, { afterMs: 500 }])
      await bench.time.advance(200)
      bench.caller.abort(new RpcError('deadline_exceeded', 'time is up'))
      assert.equal(await bench.outcome(run), 'time is up')
      assert.deepEqual(bench.cancelled, ['first', 'second'])
      const late = new Bench()
      late.caller.abort(new RpcError('canceled', 'gone'))
      assert.equal(await late.outcome(late.run([{ afterMs: 1 }, { afterMs: 1 }])), 'gone')
      assert.deepEqual(late.begun, [])
    },

    'the quantile is never too short, and a tenth too long at most (seeded)': () => {
      for (let seed = 1; seed <= 30; seed++) {
        const random = seededRandom(seed)
        const p95 = new LatencyQuantile(0.95)
        // Whole blocks of 16, so that it has been read since the last; below 1000, so that nothing was halved.
        const samples = Array.from({ length: 16 * (4 + Math.floor(random() * 50)) }, () => {
          const latencyMs = 0.1 + 20 * -Math.log(1 - random()) * (random() < 0.1 ? 10 : 1)
          p95.add(latencyMs)
          return latencyMs
        })
        const value = p95.valueMs ?? assert.fail('unknown')
        const sorted = samples.toSorted((a, b) => a - b)
        const exact = sorted[Math.ceil(0.95 * sorted.length) - 1] ?? NaN
        // Its bucket's upper end: so it lies between the exact one and the next step, a tenth above.
        assert.isAtLeast(value, exact * (1 - 1e-9))
        assert.isAtMost(value, exact * 1.1 * (1 + 1e-9))
        assert.isAtMost(samples.filter((sample) => sample > value).length, 0.05 * samples.length)
      }
    },

    'the quantile follows when latencies change, and says nothing of fewer than fifty': () => {
      const p95 = new LatencyQuantile(0.95)
      for (let i = 0; i < 49; i++) p95.add(10)
      assert.isUndefined(p95.valueMs)
      for (let i = 0; i < 5_000; i++) p95.add(10)
      assert.closeTo(p95.valueMs ?? 0, 10, 1)
      // Of at most 1000 that are counted half are forgotten each time, which is every 500: five times leave 1/32 of the old.
      for (let i = 0; i < 3_000; i++) p95.add(1)
      assert.closeTo(p95.valueMs ?? 0, 1, 0.1)
      // Whatever comes, it is a number.
      for (const odd of [0, -1, 1e12]) for (let i = 0; i < 3_000; i++) p95.add(odd)
      assert.isAbove(p95.valueMs ?? 0, 3_600_000)
    },
  },
}
