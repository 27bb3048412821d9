import { assert } from 'chai'
import { seededRandom } from '../../../shared/base/random.ts'
import type { Suite } from '../../suite.ts'
import { type HeldWorker, onBench, PoolBench } from './held_worker.ts'

/** No worker idles while a call waits, in the queue or behind another worker's run. */
function assertBoundLate({ pool, workers }: PoolBench): void {
  const loads = workers.map(({ id }) => pool.describe(id)).filter((state) => state && !state.draining)
  const idle = loads.some((state) => state?.inFlight === 0)
  const behind = workers.some(({ id }) => (pool.describe(id)?.inFlight ?? 0) > 1)
  assert.isFalse(idle && pool.queued > 0, 'a worker idles while calls are queued')
  assert.isFalse(idle && behind, 'a worker idles while a run waits behind another')
  for (const state of loads) assert.isAtMost(state?.inFlight ?? 0, 2, 'runs on one worker')
}

/** Which worker goes first, how many run, and what a test does next: all by chance. */
async function storm(seed: number): Promise<void> {
  const random = seededRandom(seed)
  const bench = new PoolBench(0, seed)
  const below = (count: number) => Math.floor(random() * count)
  bench.join()
  for (let step = 0; step < 120; step++) {
    const live = bench.workers.filter(({ id }) => bench.pool.describe(id))
    const open = live.flatMap((worker) => worker.open.slice(0, 1))
    const action = random()
    if (action < 0.45) {
      const options = {
        model: below(3),
        batchable: random() < 0.5,
        priority: random() < 0.2 ? 'high' : 'normal',
      } as const
      bench.submit(step, options)
    } else if (action < 0.8) open[below(open.length)]?.answer()
    else if (action < 0.88) bench.join([below(3)])
    else if (action < 0.92 && live.length > 1) bench.vanish(live[below(live.length)] as HeldWorker)
    else if (action < 0.95 && live.length > 1) void bench.pool.drain(live[below(live.length)]?.id ?? '')
    else bench.submitted[below(bench.submitted.length)]?.abort()
    await bench.settle()
    assertBoundLate(bench)
  }
  await bench.answerAll()
  for (const { error } of bench.submitted) {
    if (error) assert.include(['unavailable', 'canceled'], error.code)
  }
  await bench.close()
}

export const poolDispatchSuite: Suite = {
  name: 'pool: dispatch',
  cases: {
    'no worker idles while a call waits, whatever happens (seeded)': async () => {
      for (let seed = 1; seed <= 6; seed++) await storm(seed)
    },

    'idle workers get one call each before any gets two': onBench(3, async (bench) => {
      for (let i = 0; i < 3; i++) bench.submit(i, { batchable: false })
      assert.deepEqual(bench.workers.map(({ values }) => values), [[[0]], [[1]], [[2]]])
      for (let i = 3; i < 8; i++) bench.submit(i, { batchable: false })
      assert.deepEqual(bench.workers.map(({ values }) => values), [[[0], [3]], [[1], [4]], [[2], [5]]])
      assert.equal(bench.pool.queued, 2)
      assert.deepEqual(bench.pool.depths().map(({ calls }) => calls), [2])
      await bench.answerAll()
    }),

    'an idle GPU goes first, loaded or not; a CPU is used while it is busy': onBench(0, async (bench) => {
      const cpu = bench.join([0])
      const gpu = bench.join([], (worker) => worker.accelerated = true)
      for (let i = 0; i < 2; i++) bench.submit(i, { model: 0, batchable: false })
      assert.deepEqual([gpu.values, cpu.values], [[[0]], [[1]]])
      await bench.answerAll()
      bench.submit(2, { model: 0, batchable: false })
      assert.deepEqual(gpu.values, [[2]])
      await bench.answerAll()
    }),

    'first come first served within a priority, high before normal': onBench(1, async (bench) => {
      const random = seededRandom(7)
      const [worker] = bench.workers
      // Both places of the worker are taken, so that the rest is queued before any of it is sent.
      for (const value of [-2, -1]) bench.submit(value, { batchable: false })
      const wanted: { high: number[]; normal: number[] } = { high: [], normal: [] }
      for (let i = 0; i < 60; i++) {
        const priority = random() < 0.3 ? 'high' : 'normal'
        bench.submit(i, { batchable: false, priority, model: Math.floor(random() * 4) })
        wanted[priority].push(i)
      }
      await bench.answerAll()
      const order = worker?.runs.flatMap(({ calls }) => calls.map(({ inputs }) => Number(inputs.x?.data[0])))
      assert.deepEqual(order, [-2, -1, ...wanted.high, ...wanted.normal])
    }),

    'a worker that has the model goes before one that would load it': onBench(1, async (bench) => {
      const warm = bench.join([1])
      bench.submit(0)
      assert.deepEqual(warm.values, [[0]])
      // An idle worker that must load is still better than waiting for a busy one.
      bench.submit(1)
      assert.deepEqual(bench.workers[0]?.values, [[1]])
      await bench.answerAll()
      assert.deepEqual(bench.pool.describe('w0')?.models, bench.pool.describe('w1')?.models)
    }),

    'a joining worker takes over what waits behind a busy one, before what is queued': onBench(1, async (bench) => {
      for (let i = 0; i < 4; i++) bench.submit(i, { batchable: false })
      assert.deepEqual(bench.workers[0]?.values, [[0], [1]])
      const fresh = bench.join()
      await bench.settle()
      assert.deepEqual(fresh.values, [[1], [2]])
      assert.deepEqual(bench.workers[0]?.values, [[0]])
      // The run that was taken back is cancelled there, so that a worker that has not begun it never will.
      assert.isTrue(bench.workers[0]?.runs[1]?.signal.aborted)
      assert.equal(bench.metrics.valueOf('shoal_pool_runs_taken_back_total'), 1)
      await bench.answerAll()
      assert.deepEqual(bench.submitted.map(({ result }) => Number(result?.outputs.x?.data[0])), [0, 1, 2, 3])
    }),

    'a worker that goes idle takes over what waits behind a slow one': onBench(2, async (bench) => {
      const [slow, quick] = bench.workers
      for (let i = 0; i < 4; i++) bench.submit(i, { batchable: false })
      assert.deepEqual(slow?.values, [[0], [2]])
      quick?.open[0]?.answer()
      quick?.open[0]?.answer()
      await bench.settle()
      assert.deepEqual(quick?.values, [[2]])
      assert.deepEqual(slow?.values, [[0]])
      // A slow worker is sent nothing ahead until it has answered.
      bench.submit(4, { batchable: false })
      bench.submit(5, { batchable: false })
      assert.deepEqual([slow?.values, quick?.values], [[[0]], [[2], [4]]])
      assert.equal(bench.pool.queued, 1)
      slow?.open[0]?.answer()
      await bench.settle()
      assert.deepEqual([slow?.values, quick?.values], [[[4], [5]], [[2]]])
      await bench.answerAll()
    }),

    'in a backlog, a run passed over by a later one moves to the worker that passed it': onBench(2, async (bench) => {
      const [stuck, quick] = bench.workers
      for (let i = 0; i < 12; i++) bench.submit(i, { batchable: false })
      assert.deepEqual([stuck?.values, quick?.values], [[[0], [2]], [[1], [3]]])
      // 1 was sent before 2, so that its answer proves nothing yet; 3 was sent after it.
      quick?.open[0]?.answer()
      await bench.settle()
      assert.deepEqual(quick?.values, [[3], [4]])
      quick?.open[0]?.answer()
      await bench.settle()
      assert.deepEqual(quick?.values, [[4], [2]])
      assert.deepEqual(stuck?.values, [[0]])
      for (let i = 0; i < 9; i++) {
        quick?.open[0]?.answer()
        await bench.settle()
      }
      assert.equal(bench.submitted.filter(({ settled }) => settled).length, 11)
      assert.deepEqual(stuck?.values, [[0]])
      await bench.answerAll()
    }),

    'the answer of a worker that lost its run to another is ignored': onBench(1, async (bench) => {
      const [slow] = bench.workers
      // An engine in this process may not hear of a cancelled run and answer all the same.
      const answers: (() => void)[] = []
      const deaf = bench.pool
      deaf.remove('w0')
      deaf.add({
        id: 'deaf',
        name: 'deaf',
        device: 'wasm',
        run: (_model, calls) =>
          new Promise((resolve) =>
            answers.push(() =>
              resolve({
                calls: calls.map(() => ({ outputs: {} })),
                timings: { loadMs: 0, waitMs: 0, runMs: 0 },
              })
            )
          ),
      })
      bench.submit(0, { batchable: false })
      bench.submit(1, { batchable: false })
      const fresh = bench.join()
      assert.deepEqual(fresh.values, [[1]])
      answers[1]?.()
      await bench.settle()
      assert.isFalse(bench.submitted[1]?.settled)
      fresh.open[0]?.answer()
      answers[0]?.()
      await bench.settle()
      assert.equal(bench.submitted[1]?.result?.worker.id, fresh.id)
      assert.equal(bench.pool.describe('deaf')?.served, 1)
      bench.pool.remove('deaf')
      assert.equal(slow?.runs.length, 0)
    }),

    'a drained worker finishes what it has, gets nothing more, and says when it is done': onBench(2, async (bench) => {
      const [leaving, staying] = bench.workers
      for (let i = 0; i < 4; i++) bench.submit(i, { batchable: false })
      let drained = false
      void bench.pool.drain('w0').then(() => drained = true)
      assert.deepEqual(bench.pool.describe('w0')?.draining, true)
      for (let i = 4; i < 7; i++) bench.submit(i, { batchable: false })
      leaving?.open[0]?.answer()
      await bench.settle()
      assert.isFalse(drained)
      assert.deepEqual(leaving?.values, [[2]])
      leaving?.open[0]?.answer()
      await bench.settle()
      assert.isTrue(drained)
      assert.equal(leaving?.runs.length, 2)
      await bench.answerAll()
      assert.equal(staying?.runs.length, 5)
      assert.equal(bench.submitted.filter(({ result }) => result).length, 7)
    }),

    'draining an idle or an unknown worker is done at once': onBench(1, async (bench) => {
      await bench.pool.drain('w0')
      await bench.pool.drain('nobody')
      assert.equal(bench.pool.usable, 0)
      assert.equal(bench.pool.size, 1)
    }),

    'without a worker calls are refused with a time to come back': onBench(0, async (bench) => {
      bench.submit(0)
      await bench.settle()
      const { error } = bench.submitted[0] ?? {}
      assert.deepEqual([error?.code, error?.retryAfterMs, error?.neverSent], ['unavailable', 1000, true])
    }),

    'the last worker leaving, or draining, takes the hope of all that wait': async () => {
      for (const how of ['vanish', 'drain'] as const) {
        const bench = new PoolBench(1)
        for (let i = 0; i < 5; i++) bench.submit(i, { batchable: false, model: i })
        const [worker] = bench.workers
        if (how === 'vanish' && worker) bench.vanish(worker)
        else void bench.pool.drain('w0')
        await bench.settle()
        const ends = bench.submitted.map(({ error }) =>
          error && `${error.code} ${error.neverSent} ${error.retryAfterMs}`
        )
        // Those that were sent may have begun; the others never did.
        const sent = how === 'vanish' ? 'unavailable false 1000' : undefined
        const waiting = 'unavailable true 1000'
        assert.deepEqual(ends, [sent, sent, waiting, waiting, waiting])
        await bench.answerAll()
        await bench.close()
      }
    },

    'calls that came together share a run, where dispatch waits for all that is here': async () => {
      const tasks: (() => void)[] = []
      const bench = new PoolBench(2, 1, (task) => tasks.push(task))
      for (let i = 0; i < 5; i++) bench.submit(i)
      assert.equal(bench.pool.queued, 5)
      bench.submitted[3]?.abort()
      assert.equal(tasks.length, 1, 'put off once')
      tasks.pop()?.()
      assert.deepEqual(bench.workers.map(({ values }) => values), [[[0, 1, 2, 4]], []])
      bench.submit(5)
      // Whatever else makes room in the meantime takes what is there; the late task finds nothing left.
      bench.workers[0]?.open[0]?.answer()
      await bench.settle()
      assert.deepEqual(bench.workers.map(({ values }) => values), [[[5]], []])
      tasks.pop()?.()
      bench.submit(6)
      for (const { id } of bench.workers) bench.pool.remove(id)
      tasks.pop()?.()
      await bench.settle()
      assert.equal(bench.submitted[6]?.error?.code, 'unavailable')
      await bench.answerAll()
      await bench.close()
    },

    'queues of models are gone when they are empty: 10,000 models leave nothing': onBench(1, async (bench) => {
      const [worker] = bench.workers
      for (let i = 0; i < 10_000; i++) {
        bench.submit(i, { model: i })
        if (i % 100 === 99) {
          assert.isAtMost(bench.pool.models, 100)
          for (const call of bench.submitted.slice(i - 96, i - 50)) call.abort()
          await bench.answerAll()
          assert.equal(bench.pool.models, 0)
        }
      }
      assert.isAtMost(bench.pool.describe(worker?.id ?? '')?.models.length ?? 0, 1000)
    }),
  },
}
