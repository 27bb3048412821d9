import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { DrainMeter } from '../../../shared/pool/drain_meter.ts'
import { FakeClock } from '../../../shared/base/clock.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { onBench, PoolBench } from './held_worker.ts'

/** Answers a run each `everyMs`, `count` times. */
async function drainSteadily(bench: PoolBench, everyMs: number, count: number): Promise<void> {
  const [worker] = bench.workers
  for (let i = 0; i < count; i++) {
    bench.elapse(everyMs)
    worker?.open[0]?.answer()
    await bench.settle()
  }
}

function fill(bench: PoolBench, count: number, batchable = false): void {
  for (let i = 0; i < count; i++) bench.submit(i, { batchable })
}

const mebibytes = (count: number) => ({
  x: Tensor.from('float32', [1, count * 2 ** 18], new Float32Array(count * 2 ** 18)),
})

export const poolOverflowSuite: Suite = {
  name: 'pool: overflow',
  cases: {
    'a full queue answers resource_exhausted at once, and others go on': onBench(1, async (bench) => {
      fill(bench, 2 + LIMITS.maxQueuedCalls)
      const over = bench.submit(-1, { batchable: false })
      const other = bench.submit(-2, { batchable: false, model: 2 })
      await bench.settle()
      assert.deepEqual([over.error?.code, over.error?.neverSent], ['resource_exhausted', true])
      assert.include(over.error?.message, `${LIMITS.maxQueuedCalls} calls wait for this model`)
      assert.equal(bench.metrics.valueOf('shoal_pool_calls_shed_total', { reason: 'count' }), 1)
      assert.isFalse(other.settled)
      bench.submitted[5]?.abort()
      assert.isFalse(bench.submit(-3, { batchable: false }).settled)
      for (const call of bench.submitted) call.abort()
    }),

    'Retry-After is the time that the backlog takes to drain at the measured rate': onBench(1, async (bench) => {
      fill(bench, 2 + LIMITS.maxQueuedCalls)
      // Nothing is known before anything has drained.
      const early = bench.submit(-1, { batchable: false })
      await bench.settle()
      const spread = DEFAULTS.beatJitter
      assert.closeTo(early.error?.retryAfterMs ?? 0, DEFAULTS.retryAfterMs, DEFAULTS.retryAfterMs * spread)

      // Each pace lasts for longer than the meter remembers.
      for (const [everyMs, runs] of [[20, 1_000], [5, 5_000]] as const) {
        for (let i = 0; i < runs; i++) {
          await drainSteadily(bench, everyMs, 1)
          if (bench.pool.queued < LIMITS.maxQueuedCalls) bench.submit(i, { batchable: false })
        }
        const told: number[] = []
        for (let i = 0; i < 40; i++) {
          const over = bench.submit(-1, { batchable: false })
          await bench.settle()
          told.push(over.error?.retryAfterMs ?? 0)
        }
        const drainMs = everyMs * LIMITS.maxQueuedCalls
        for (const ms of told) assert.closeTo(ms, drainMs, drainMs * (spread + 0.1))
        assert.isAbove(new Set(told).size, 30, 'spread, so that callers do not come back together')
      }
      for (const call of bench.submitted) call.abort()
    }),

    'the drain rate counts runs, so joined calls are not told to wait one by one': onBench(1, async (bench) => {
      fill(bench, 2 + LIMITS.maxQueuedCalls, true)
      // Each run takes 256 calls; the queue is filled up again behind it.
      for (let i = 0; i < 15; i++) {
        await drainSteadily(bench, 100, 1)
        fill(bench, LIMITS.maxQueuedCalls - bench.pool.queued, true)
      }
      const over = bench.submit(-1)
      await bench.settle()
      const runs = LIMITS.maxQueuedCalls / LIMITS.maxBatch
      assert.closeTo(over.error?.retryAfterMs ?? 0, runs * 100, runs * 100 * (DEFAULTS.beatJitter + 0.1))
      for (const call of bench.submitted) call.abort()
    }),

    'a queue, and all of them together, are bounded in bytes; a call that finds nothing waiting never is': onBench(
      1,
      async (bench) => {
        const large = mebibytes(8)
        for (const value of [-1, -2]) bench.submit(value, { inputs: large, batchable: false, model: 9 })
        const calls = Array.from({ length: 10 }, (_, i) => {
          return bench.submit(i, { inputs: large, batchable: false, model: i < 5 ? 1 : 2 })
        })
        await bench.settle()
        // Four of 8 MiB fill a queue, eight the pool; the tenth belongs to a queue that is full as well.
        const refused = calls.map(({ error }) => error?.code)
        assert.deepEqual(refused.map((code) => code === 'resource_exhausted'), [
          ...[false, false, false, false, true],
          ...[false, false, false, false, true],
        ])
        const small = bench.submit(11, { model: 3 })
        await bench.settle()
        assert.include(small.error?.message, `${LIMITS.maxPoolBytes} bytes for all`)
        assert.equal(bench.metrics.valueOf('shoal_pool_calls_shed_total', { reason: 'bytes' }), 3)
        await bench.answerAll()
        const huge = bench.submit(12, { inputs: mebibytes(40) })
        await bench.answerAll()
        assert.isDefined(huge.result)
      },
    ),

    'a call that would wait for most of its time is refused at once': onBench(1, async (bench) => {
      fill(bench, 200)
      await drainSteadily(bench, 10, 100)
      // 98 calls wait at 10 ms each.
      const short = bench.submit(-1, { batchable: false, timeoutMs: 1_500 })
      const long = bench.submit(-2, { batchable: false, timeoutMs: 2_500 })
      const urgent = bench.submit(-3, { batchable: false, timeoutMs: 1_500, priority: 'high' })
      await bench.settle()
      assert.equal(short.error?.code, 'resource_exhausted')
      assert.match(short.error?.message ?? '', /would wait about \d+ of its 1500 ms/)
      assert.equal(bench.metrics.valueOf('shoal_pool_calls_shed_total', { reason: 'deadline' }), 1)
      assert.isFalse(long.settled || urgent.settled)
      await bench.answerAll()
    }),

    'other models’ calls count: workers take the oldest of any': onBench(1, async (bench) => {
      fill(bench, 200)
      await drainSteadily(bench, 10, 100)
      const other = bench.submit(-1, { batchable: false, timeoutMs: 1_500, model: 2 })
      await bench.settle()
      assert.equal(other.error?.code, 'resource_exhausted')
      await bench.answerAll()
    }),

    'calls that come together onto idle workers are not taken for a backlog': async () => {
      const tasks: (() => void)[] = []
      const bench = new PoolBench(1, 1, (task) => tasks.push(task))
      fill(bench, 50)
      tasks.pop()?.()
      await drainSteadily(bench, 100, 30)
      await bench.answerAll()
      for (let i = 0; i < 9; i++) bench.join()
      for (let i = 0; i < 10; i++) bench.submit(i, { batchable: false, timeoutMs: 500 })
      tasks.pop()?.()
      await bench.answerAll()
      assert.isTrue(bench.submitted.every(({ result }) => result))
      await bench.close()
    },

    'when the backlog is gone, so is its memory of being slow': onBench(1, async (bench) => {
      fill(bench, 10)
      await drainSteadily(bench, 5_000, 12)
      const next = bench.submit(-1, { batchable: false, timeoutMs: 100 })
      await bench.settle()
      assert.isFalse(next.settled)
      await bench.answerAll()
    }),

    'the meter gives the rate of runs over the time that calls waited': () => {
      const clock = new FakeClock()
      const meter = new DrainMeter({ now: () => clock.now() + offset })
      let offset = 0
      meter.started()
      assert.isUndefined(meter.estimateMs(1), 'a run that did not wait says nothing')
      meter.backlog = true
      assert.isUndefined(meter.estimateMs(1))
      for (let i = 0; i < 10; i++) {
        offset += 100
        meter.started()
      }
      assert.closeTo(meter.estimateMs(1) ?? 0, 100, 5)
      assert.closeTo(meter.estimateMs(7) ?? 0, 700, 35)
      // Time without a backlog is left out.
      meter.backlog = false
      offset += 3_600_000
      assert.closeTo(meter.estimateMs(1) ?? 0, 100, 5)
      meter.backlog = true
      // A stall shows while it lasts: 10 s of nothing weigh as much as all before.
      offset += 10_000
      assert.isAbove(meter.estimateMs(1) ?? 0, 1_000)
    },
  },
}
