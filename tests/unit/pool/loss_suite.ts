import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { onBench, valueOf } from './held_worker.ts'

const restarting = () => new RpcError('unavailable', 'Cannot compute: the engine has stopped')

export const poolLossSuite: Suite = {
  name: 'pool: lost workers and callers',
  cases: {
    'a call whose worker vanishes goes to another, at the front of the queue': onBench(2, async (bench) => {
      const [first, second] = bench.workers
      for (let i = 0; i < 8; i++) bench.submit(i, { batchable: false })
      assert.deepEqual([first?.values, second?.values], [[[0], [2]], [[1], [3]]])
      if (first) bench.vanish(first)
      await bench.settle()
      await bench.answerAll()
      const order = second?.runs.flatMap(({ calls }) => calls.map(({ inputs }) => valueOf(inputs)))
      assert.deepEqual(order, [1, 3, 0, 2, 4, 5, 6, 7])
      assert.isTrue(bench.submitted.every(({ result }) => result?.worker.id === 'w1'))
      assert.equal(bench.metrics.valueOf('shoal_pool_calls_requeued_total'), 2)
    }),

    'a call that takes its workers with it is given up after three of them': onBench(5, async (bench) => {
      const poison = bench.submit(0)
      for (let lost = 1; lost <= 3; lost++) {
        assert.isFalse(poison.settled, `after ${lost - 1} workers`)
        const victim = bench.workers.find(({ open }) => open.length > 0)
        if (victim) bench.vanish(victim)
        await bench.settle()
      }
      assert.equal(poison.error?.code, 'unavailable')
      assert.isFalse(poison.error?.neverSent)
      assert.equal(bench.pool.size, 2)
    }),

    'what waited behind a poisonous run is not held against it': onBench(1, async (bench) => {
      const poison = bench.submit(0, { batchable: false })
      const innocent = bench.submit(1, { batchable: false })
      for (let lost = 1; lost <= 3; lost++) {
        const victim = bench.workers.at(-1)
        assert.deepEqual(victim?.values, [[0], [1]])
        // The next worker is kept busy until this one is gone, or it would take the innocent call over.
        for (const value of [-1, -2]) bench.submit(value, { batchable: false, priority: 'high' })
        const next = bench.join()
        assert.deepEqual(next.values, [[-1], [-2]])
        if (victim) bench.vanish(victim)
        await bench.settle()
        for (const run of next.open) run.answer()
        await bench.settle()
      }
      assert.equal(poison.error?.code, 'unavailable')
      await bench.answerAll()
      assert.equal(valueOf(innocent.result?.outputs ?? {}), 1)
    }),

    'companions of a poisonous call in one run are tried without it': onBench(1, async (bench) => {
      const [worker] = bench.workers
      for (const value of [-1, -2]) bench.submit(value, { batchable: false, model: 99 })
      for (let i = 0; i < 6; i++) bench.submit(i)
      for (const run of worker?.open ?? []) run.answer()
      await bench.settle()
      assert.deepEqual(worker?.values, [[0, 1, 2, 3, 4, 5]])
      for (let i = 0; i < 3; i++) bench.join()
      // Call 3 takes down whoever begins it.
      for (let round = 0; round < 20; round++) {
        for (const each of bench.workers) {
          const [run] = each.open
          if (!run || !bench.pool.describe(each.id)) continue
          if (run.calls.some(({ inputs }) => valueOf(inputs) === 3)) bench.vanish(each)
          else run.answer()
          await bench.settle()
        }
      }
      for (const { value, result, error } of bench.submitted) {
        if (value === 3) assert.equal(error?.code, 'unavailable')
        else assert.equal(valueOf(result?.outputs ?? {}), value)
      }
      assert.equal(bench.pool.size, 1)
    }),

    'a worker that is there but cannot work is left alone for a moment, then tried again': onBench(2, async (bench) => {
      const [broken, sound] = bench.workers
      bench.submit(0, { batchable: false })
      broken?.open[0]?.fail(restarting())
      await bench.settle()
      assert.deepEqual(sound?.values, [[0]])
      // It would otherwise take call after call and fail each.
      for (let i = 1; i < 4; i++) bench.submit(i, { batchable: false })
      assert.deepEqual([broken?.values, sound?.values], [[], [[0], [1]]])
      await bench.clock.advance(DEFAULTS.workerRestBaseMs)
      assert.deepEqual([broken?.values, sound?.values], [[[1], [2]], [[0]]])
      // Each failure in a row doubles the rest, up to the cap; a success forgets them.
      broken?.open[0]?.fail(restarting())
      broken?.open[0]?.fail(restarting())
      await bench.settle()
      await bench.clock.advance(DEFAULTS.workerRestCapMs - 1)
      assert.deepEqual(broken?.values, [])
      await bench.clock.advance(1)
      assert.isAbove(broken?.values.length ?? 0, 0)
      await bench.answerAll()
      assert.equal(bench.clock.pending, 0)
      // It is the quicker of the two by now.
      bench.submit(4, { batchable: false })
      assert.equal(broken?.open.length, 1)
      broken?.open[0]?.fail(restarting())
      await bench.settle()
      assert.equal(bench.clock.pending, 1)
      await bench.clock.advance(DEFAULTS.workerRestBaseMs)
      assert.equal(bench.clock.pending, 0)
      await bench.answerAll()
    }),

    'the only worker restarting: the call waits for it, three times at most': onBench(1, async (bench) => {
      const [worker] = bench.workers
      const call = bench.submit(0)
      for (let failure = 0; failure < 3; failure++) {
        assert.equal(worker?.open.length, 1)
        worker?.open[0]?.fail(restarting())
        await bench.settle()
        await bench.clock.advance(DEFAULTS.workerRestCapMs)
      }
      assert.equal(call.error?.code, 'unavailable')
      assert.include(call.error?.message, 'the engine has stopped')
    }),

    'a resting worker that leaves takes its timer along': onBench(1, async (bench) => {
      const call = bench.submit(0)
      bench.workers[0]?.open[0]?.fail(restarting())
      await bench.settle()
      assert.equal(bench.clock.pending, 1)
      bench.pool.remove('w0')
      await bench.settle()
      assert.equal(bench.clock.pending, 0)
      assert.deepEqual([call.error?.code, call.error?.neverSent], ['unavailable', false])
    }),

    'an error that is the call’s own goes to the caller, and the worker works on': onBench(1, async (bench) => {
      const [worker] = bench.workers
      const bad = bench.submit(0)
      worker?.open[0]?.fail(new RpcError('invalid_argument', 'Cannot run the model: bad'))
      const good = bench.submit(1)
      await bench.answerAll()
      assert.equal(bad.error?.code, 'invalid_argument')
      assert.isDefined(good.result)
    }),

    'an abort before the call is made, while it waits, while it runs': onBench(1, async (bench) => {
      const [worker] = bench.workers
      const calls = [0, 1, 2, 3].map((value) => bench.submit(value, { batchable: false }))
      assert.equal(bench.pool.queued, 2)
      calls[2]?.abort()
      assert.equal(bench.pool.queued, 1)
      assert.equal(bench.metrics.valueOf('shoal_pool_calls_dropped_total', { state: 'queued' }), 1)
      calls[0]?.abort()
      assert.equal(bench.metrics.valueOf('shoal_pool_calls_dropped_total', { state: 'running' }), 1)
      assert.isTrue(worker?.runs[0]?.signal.aborted)
      await bench.settle()
      assert.deepEqual(worker?.values, [[1], [3]])
      await bench.answerAll()
      assert.deepEqual(calls.map(({ error }) => error?.code), ['canceled', undefined, 'canceled', undefined])

      const gone = new AbortController()
      gone.abort(new RpcError('deadline_exceeded', 'Cannot finish the call: too late'))
      const request = { model: { sha256: 'a', batchable: true }, inputs: {}, priority: 'normal' as const }
      const refused = await bench.pool.run({ ...request, signal: gone.signal }).catch((error) => error)
      assert.equal(refused.code, 'deadline_exceeded')
    }),

    'the reason of an abort is what the caller hears': onBench(1, async (bench) => {
      const calls = [0, 1, 2].map((value) => bench.submit(value, { batchable: false }))
      for (const call of calls) call.abort(new RpcError('deadline_exceeded', 'Cannot finish the call: time is up'))
      await bench.settle()
      for (const { error } of calls) assert.equal(error?.message, 'Cannot finish the call: time is up')
    }),

    'a joined run is cancelled when the last of its callers has gone, not before': onBench(1, async (bench) => {
      const [worker] = bench.workers
      for (const value of [-1, -2]) bench.submit(value, { batchable: false, model: 99 })
      const calls = [0, 1, 2].map((value) => bench.submit(value))
      for (const run of worker?.open ?? []) run.answer()
      await bench.settle()
      const [run] = worker?.open ?? []
      assert.equal(run?.calls.length, 3)
      calls[0]?.abort()
      calls[2]?.abort()
      assert.isFalse(run?.signal.aborted)
      await bench.settle()
      assert.deepEqual(calls.map(({ settled }) => settled), [true, false, true])
      calls[1]?.abort()
      assert.isTrue(run?.signal.aborted)
      await bench.settle()
      assert.deepEqual(worker?.values, [])
      assert.equal(bench.pool.describe('w0')?.inFlight, 0)
    }),

    'callers that have gone are not tried again after a loss or a split': onBench(2, async (bench) => {
      const [first, second] = bench.workers
      for (const value of [-1, -2, -3, -4]) bench.submit(value, { batchable: false, model: 99 })
      const calls = [0, 1, 2, 3].map((value) => bench.submit(value))
      for (const run of first?.open ?? []) run.answer()
      await bench.settle()
      assert.deepEqual(first?.values, [[0, 1, 2, 3]])
      calls[1]?.abort()
      first?.open[0]?.fail(new RpcError('internal', 'Cannot run the model'))
      await bench.settle()
      calls[3]?.abort()
      if (first) bench.vanish(first)
      await bench.settle()
      await bench.answerAll()
      assert.deepEqual(calls.map(({ error }) => error?.code), [undefined, 'canceled', undefined, 'canceled'])
      const values = (second?.runs ?? []).flatMap(({ calls }) => calls.map(({ inputs }) => valueOf(inputs)))
      assert.notInclude(values, 1)
      assert.notInclude(values, 3)
    }),
  },
}
