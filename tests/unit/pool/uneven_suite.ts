import { assert } from 'chai'
import { ModelPaces, Pace } from '../../../shared/pool/pace.ts'
import type { PoolWorker, WorkerReply } from '../../../shared/pool/pool.ts'
import type { Suite } from '../../suite.ts'
import { onBench, type PoolBench, sha } from './held_worker.ts'

interface Speed {
  /** Milliseconds of a run. */
  ms: number
  loadMs?: number
  weight?: number
  /** Loaded from the start. */
  warm?: boolean
}

/** A worker that computes one run after the other, each for so long. */
function join(bench: PoolBench, name: string, { ms, loadMs = 0, weight, warm = true }: Speed): { ended: number[] } {
  const ended: number[] = []
  const loaded = new Set(warm ? [sha(1)] : [])
  let freeAtMs = 0
  const worker: PoolWorker = {
    id: name,
    name,
    device: 'wasm',
    weight,
    run: (model, calls, signal) =>
      new Promise<WorkerReply>((resolve, reject) => {
        const load = loaded.has(model.sha256) ? 0 : loadMs
        loaded.add(model.sha256)
        const nowMs = bench.clock.now()
        freeAtMs = Math.max(nowMs, freeAtMs) + load + ms
        const startedMs = freeAtMs - load - ms
        const cancel = bench.clock.after(freeAtMs - nowMs, () => {
          ended.push(bench.clock.now())
          resolve({
            calls: calls.map(({ inputs }) => ({ outputs: inputs })),
            timings: { loadMs: load, waitMs: 0, runMs: ms },
          })
        })
        signal.addEventListener('abort', () => {
          cancel()
          // What was not begun takes no time.
          if (startedMs >= bench.clock.now()) freeAtMs -= load + ms
          reject(signal.reason)
        }, { once: true })
      }),
  }
  bench.pool.add(worker, warm ? [sha(1)] : [])
  return { ended }
}

/** One call on each worker, so that both are known. */
async function meet(bench: PoolBench, count: number, ms: number): Promise<void> {
  for (let i = 0; i < count; i++) bench.submit(i, { batchable: false })
  await bench.clock.advance(ms)
  assert.isTrue(bench.submitted.every(({ settled }) => settled))
}

export const poolUnevenSuite: Suite = {
  name: 'pool: workers of unequal speed',
  cases: {
    'the last call of a few is never on a worker ten times slower': onBench(0, async (bench) => {
      join(bench, 'quick', { ms: 10 })
      const slow = join(bench, 'slow', { ms: 100 })
      await meet(bench, 2, 200)
      const before = slow.ended.length
      const startMs = bench.clock.now()
      for (let i = 0; i < 5; i++) bench.submit(i, { batchable: false })
      await bench.clock.advance(51)
      assert.isTrue(bench.submitted.every(({ settled }) => settled), 'five runs on the quick worker')
      assert.equal(slow.ended.length, before)
      assert.isAtMost(bench.clock.now() - startMs, 51)
      bench.pool.remove('quick')
      bench.pool.remove('slow')
    }),

    'it takes its share of a long queue': onBench(0, async (bench) => {
      join(bench, 'quick', { ms: 10 })
      const slow = join(bench, 'slow', { ms: 100 })
      await meet(bench, 2, 200)
      const before = slow.ended.length
      for (let i = 0; i < 110; i++) bench.submit(i, { batchable: false })
      // Both together compute 11 in 100 ms.
      await bench.clock.advance(1_101)
      assert.isAtLeast(bench.submitted.filter(({ settled }) => settled).length, 2 + 108)
      assert.closeTo(slow.ended.length - before, 10, 1)
      await bench.clock.advance(100)
      bench.pool.remove('quick')
      bench.pool.remove('slow')
    }),

    'a quick worker that is late is not waited for': onBench(0, async (bench) => {
      const quick = bench.join([1])
      const slow = join(bench, 'slow', { ms: 100 })
      for (let i = 0; i < 2; i++) bench.submit(i, { batchable: false })
      await bench.clock.advance(10)
      quick.open[0]?.answer()
      await bench.clock.advance(200)
      assert.equal(slow.ended.length, 1)
      for (let i = 0; i < 3; i++) bench.submit(i, { batchable: false })
      await bench.clock.advance(10)
      assert.equal(slow.ended.length, 1)
      // It should have answered after 10 ms, and then the next.
      await bench.clock.advance(400)
      assert.isAtLeast(slow.ended.length, 2)
      quick.open[0]?.answer()
      await bench.clock.advance(400)
      bench.pool.remove('slow')
    }),

    'what a worker tells of itself counts until it was measured': onBench(0, async (bench) => {
      join(bench, 'quick', { ms: 10, weight: 100 })
      await meet(bench, 1, 20)
      const slow = join(bench, 'slow', { ms: 100, weight: 10 })
      const alike = join(bench, 'alike', { ms: 10, weight: 90 })
      for (let i = 0; i < 4; i++) bench.submit(i, { batchable: false })
      await bench.clock.advance(30)
      assert.deepEqual([slow.ended.length, alike.ended.length], [0, 2])
      for (const name of ['quick', 'slow', 'alike']) bench.pool.remove(name)
    }),

    'a model is loaded on a further worker when the queue is worth the time': onBench(0, async (bench) => {
      join(bench, 'warm', { ms: 10, loadMs: 500, warm: false })
      await meet(bench, 1, 600)
      const cold = join(bench, 'cold', { ms: 10, loadMs: 500, warm: false })
      for (let i = 0; i < 20; i++) bench.submit(i, { batchable: false })
      await bench.clock.advance(250)
      assert.isTrue(bench.submitted.every(({ settled }) => settled))
      assert.equal(cold.ended.length, 0, 'twenty calls are done sooner than the model is loaded')
      for (let i = 0; i < 200; i++) bench.submit(i, { batchable: false })
      await bench.clock.advance(1_350)
      assert.isTrue(bench.submitted.every(({ settled }) => settled))
      assert.isAtLeast(cold.ended.length, 60)
      for (const name of ['warm', 'cold']) bench.pool.remove(name)
    }),

    'paces are known by size': () => {
      const pace = new Pace()
      assert.isUndefined(pace.expect(1))
      pace.note(4, 8)
      assert.deepEqual([1, 3, 4, 5, 16].map((rows) => pace.expect(rows)), [8, 8, 8, 16, 32])
      pace.note(1, 2)
      assert.deepEqual([1, 2, 4].map((rows) => pace.expect(rows)), [2, 4, 8])
      for (let i = 0; i < 30; i++) pace.note(1, 4)
      assert.closeTo(pace.expect(1) ?? 0, 4, 0.01)
      assert.isDefined(pace.expect(1e9))
      const paces = new ModelPaces()
      for (let i = 0; i < 5000; i++) paces.note(String(i), 1, 1, 0, undefined)
      assert.isUndefined(paces.usual('0', 1))
      assert.equal(paces.usual('4999', 1), 1)
      return Promise.resolve()
    },
  },
}
