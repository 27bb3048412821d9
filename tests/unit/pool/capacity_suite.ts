import { assert } from 'chai'
import type { WorkerLimits } from '../../../shared/contracts/fields.ts'
import { leastOf, limitsText, shortageOf } from '../../../shared/pool/capacity.ts'
import type { Suite } from '../../suite.ts'
import { type HeldWorker, onBench, type PoolBench, sha } from './held_worker.ts'

const MiB = 2 ** 20
const LARGE = { batchable: false, model: 9, needs: { bytes: 900 * MiB, largestTensorBytes: 512 * MiB } }
const SMALL = { batchable: false, model: 1, needs: { bytes: MiB, largestTensorBytes: MiB } }

function join(bench: PoolBench, limits: WorkerLimits): HeldWorker {
  return bench.join([], (worker) => worker.limits = limits)
}

export const poolCapacitySuite: Suite = {
  name: 'pool: models and workers of different size',
  cases: {
    'a model that fits nobody is refused at once: what it needs, and what the largest worker has': onBench(
      0,
      async (bench) => {
        join(bench, { maxTensorBytes: 128 * MiB })
        const larger = join(bench, { maxTensorBytes: 256 * MiB })
        const refused = bench.submit(1, LARGE)
        const taken = bench.submit(2, SMALL)
        await bench.settle()
        assert.equal(refused.error?.code, 'failed_precondition')
        assert.isTrue(refused.error?.neverSent)
        assert.match(refused.error?.message ?? '', /must take 512 MiB for its largest tensor, got 2 .* takes 256/)
        assert.deepEqual(refused.error?.details, [
          { limit: 'maxTensorBytes', neededBytes: 512 * MiB, largestBytes: 256 * MiB },
        ])
        assert.deepEqual(bench.pool.describe(larger.id)?.refused, [
          { model: sha(9), reason: 'too large: its largest tensor has 512 MiB, and it takes 256' },
        ])
        await bench.answerAll()
        assert.isDefined(taken.result)
      },
    ),

    'it waits for the worker that it fits, while calls behind it go to the others': onBench(0, async (bench) => {
      const small = join(bench, { maxModelBytes: 256 * MiB })
      const large = join(bench, {})
      // The first two fill the large worker and its wire.
      for (const value of [1, 2, 3]) bench.submit(value, LARGE)
      bench.submit(4, SMALL)
      await bench.settle()
      assert.deepEqual([large.values.flat(), small.values.flat()], [[1, 2], [4]])
      // Idle, and with a run to take over: not one of these.
      small.open[0]?.answer()
      await bench.settle()
      assert.deepEqual(small.values, [])
      await bench.answerAll()
      assert.deepEqual(small.runs.map(({ model }) => model), [sha(1)])
      assert.isUndefined(bench.pool.describe(large.id)?.refused)
    }),

    'when the last worker leaves that it fits, its calls fail and others stay': onBench(0, async (bench) => {
      const small = join(bench, { maxTensorBytes: 128 * MiB })
      const large = join(bench, { maxTensorBytes: 1024 * MiB })
      bench.submit(0, SMALL)
      bench.submit(0, SMALL)
      const calls = [1, 2, 3].map((value) => bench.submit(value, LARGE))
      const other = bench.submit(5, SMALL)
      bench.vanish(large)
      await bench.settle()
      assert.deepEqual(calls.map(({ error }) => error?.code), new Array(3).fill('failed_precondition'))
      await bench.answerAll()
      assert.equal(other.result?.worker.id, small.id)
      bench.vanish(small)
      const none = bench.submit(6, LARGE)
      await bench.settle()
      assert.equal(none.error?.code, 'unavailable', 'with nobody there, size is not the reason')
    }),

    'volunteers’ room is no room for a private model': onBench(0, async (bench) => {
      join(bench, { maxTensorBytes: 128 * MiB })
      bench.join([], (worker) => worker.volunteer = true)
      const refused = bench.submit(1, LARGE)
      const open = bench.submit(2, { ...LARGE, public: true })
      await bench.settle()
      assert.equal(refused.error?.code, 'failed_precondition')
      await bench.answerAll()
      assert.isDefined(open.result)
    }),

    'what is not known of a model or a worker keeps nobody from trying'() {
      const model = { sha256: sha(1), batchable: false }
      assert.isUndefined(shortageOf({ maxTensorBytes: 1 }, model))
      assert.isUndefined(shortageOf(undefined, { ...model, bytes: 1e12 }))
      assert.isUndefined(shortageOf({ maxFileBytes: 5 }, { ...model, fileBytes: 5 }))
      assert.equal(shortageOf({ maxFileBytes: 5 }, { ...model, fileBytes: 6 })?.limit, 'maxFileBytes')
      assert.deepEqual(leastOf([undefined, { maxTensorBytes: 3 }, { maxTensorBytes: 2, maxModelBytes: 9 }]), {
        maxTensorBytes: 2,
        maxModelBytes: 9,
      })
      assert.equal(
        limitsText({ maxTensorBytes: 1024 * MiB, maxModelBytes: 512 }),
        'takes tensors of 1024 MiB, models of 0.00049 MiB',
      )
    },
  },
}
