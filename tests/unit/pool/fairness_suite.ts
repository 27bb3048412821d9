import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import type { Suite } from '../../suite.ts'
import { onBench, type PoolBench } from './held_worker.ts'

const ALONE = { batchable: false }

/** Answers one run after the other, and tells whose calls they were. */
async function order(bench: PoolBench, runs: number): Promise<number[]> {
  const values: number[] = []
  for (let i = 0; i < runs; i++) {
    const [worker] = bench.workers
    values.push(...worker?.values[0] ?? [])
    worker?.open[0]?.answer()
    await bench.settle()
  }
  return values
}

export const poolFairnessSuite: Suite = {
  name: 'pool: fairness between callers',
  cases: {
    'who floods the queue does not keep another waiting': onBench(1, async (bench) => {
      for (let i = 0; i < 1000; i++) bench.submit(1, { ...ALONE, caller: 'flood' })
      for (let i = 0; i < 3; i++) bench.submit(2, { ...ALONE, caller: 'modest' })
      // Two are with the worker already and two came while nobody else waited; then each has one in turn.
      assert.deepEqual(await order(bench, 9), [1, 1, 1, 1, 2, 1, 2, 1, 2])
      for (const call of bench.submitted) call.abort()
    }),

    'turns count across models': onBench(1, async (bench) => {
      for (let i = 0; i < 1000; i++) bench.submit(1, { ...ALONE, model: 1 + i % 5, caller: 'flood' })
      for (let i = 0; i < 3; i++) bench.submit(2, { ...ALONE, model: 9, caller: 'modest' })
      assert.deepEqual(await order(bench, 9), [1, 1, 1, 1, 2, 1, 2, 1, 2])
      for (const call of bench.submitted) call.abort()
    }),

    'callers who share a run share its rows': onBench(1, async (bench) => {
      for (let i = 0; i < 1000; i++) bench.submit(1, { caller: 'flood' })
      for (let i = 0; i < 200; i++) bench.submit(2, { caller: 'modest' })
      await order(bench, 2)
      const [next = []] = bench.workers[0]?.values ?? []
      assert.equal(next.length, LIMITS.maxBatch)
      assert.closeTo(next.filter((value) => value === 2).length, LIMITS.maxBatch / 2, 2)
      await bench.answerAll()
    }),

    'a call of many rows takes as many turns': onBench(1, async (bench) => {
      bench.submit(0)
      bench.submit(0)
      for (let i = 0; i < 20; i++) bench.submit(1, { rows: 200, caller: 'wide' })
      for (let i = 0; i < 600; i++) bench.submit(2, { caller: 'narrow' })
      const values = await order(bench, 6)
      const rows = { 1: 0, 2: 0 }
      for (const value of values) rows[value as 1 | 2] += value === 1 ? 200 : 1
      assert.closeTo(rows[1], rows[2], 300)
      await bench.answerAll()
    }),

    'who always waits for one answer before the next call is not ahead of who has many': onBench(1, async (bench) => {
      for (let i = 0; i < 40; i++) bench.submit(1, { ...ALONE, caller: 'many' })
      const served = { 1: 0, 2: 0 }
      bench.submit(2, { ...ALONE, caller: 'one' })
      for (let i = 0; i < 30; i++) {
        const [value] = await order(bench, 1)
        served[value as 1 | 2]++
        if (value === 2) bench.submit(2, { ...ALONE, caller: 'one' })
      }
      assert.isAtLeast(served[2], 5)
      assert.isAtMost(served[2], 15)
      await bench.answerAll()
    }),

    'calls given up have taken no turn': onBench(1, async (bench) => {
      bench.submit(0, ALONE)
      bench.submit(0, ALONE)
      for (let i = 0; i < 100; i++) bench.submit(2, { ...ALONE, caller: 'other' })
      const given = Array.from({ length: 500 }, () => bench.submit(1, { ...ALONE, caller: 'hasty' }))
      for (const call of given) call.abort()
      for (let i = 0; i < 2; i++) bench.submit(1, { ...ALONE, caller: 'hasty' })
      const values = await order(bench, 8)
      assert.equal(values.filter((value) => value === 1).length, 2)
      await bench.answerAll()
    }),

    'a full queue has room for who has less in it, and its last call goes': onBench(1, async (bench) => {
      for (let i = 0; i < 2 + LIMITS.maxQueuedCalls; i++) bench.submit(i, { ...ALONE, caller: 'flood' })
      const modest = bench.submit(-1, { ...ALONE, caller: 'modest' })
      const more = bench.submit(-2, { ...ALONE, caller: 'flood' })
      await bench.settle()
      assert.isFalse(modest.settled)
      assert.equal(bench.submitted[1 + LIMITS.maxQueuedCalls]?.error?.code, 'resource_exhausted')
      assert.isTrue(bench.submitted[1 + LIMITS.maxQueuedCalls]?.error?.neverSent)
      assert.equal(more.error?.code, 'resource_exhausted')
      assert.isFalse(bench.submitted[LIMITS.maxQueuedCalls]?.settled)
      for (const call of bench.submitted) call.abort()
    }),

    'who waits for little is not refused for the backlog of another': onBench(1, async (bench) => {
      for (let i = 0; i < 100; i++) bench.submit(1, { ...ALONE, caller: 'flood' })
      for (let i = 0; i < 20; i++) {
        bench.elapse(100)
        await order(bench, 1)
      }
      // Some eighty runs of 100 ms are queued: too long for the one, and none of the other's business.
      const timeoutMs = 1000
      const late = bench.submit(1, { ...ALONE, caller: 'flood', timeoutMs })
      const modest = bench.submit(2, { ...ALONE, caller: 'modest', timeoutMs })
      await bench.settle()
      assert.equal(late.error?.code, 'resource_exhausted')
      assert.isAtLeast(late.error?.retryAfterMs ?? 0, DEFAULTS.retryAfterMs)
      assert.isFalse(modest.settled)
      await bench.answerAll()
      assert.isDefined(modest.result)
    }),
  },
}
