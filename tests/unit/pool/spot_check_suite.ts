import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { type HeldWorker, type Inputs, PoolBench, rowsOf, sha, valueOf } from './held_worker.ts'

const CHECKED = { batchable: false, needs: { deterministic: true } }

const wrongBy = (by: number) => (inputs: Inputs) => rowsOf(valueOf(inputs) + by)
const TALLY = 'shoal_pool_spot_checks_total'

/** A bench that checks this share of calls, and its proof that nothing is left. */
function checking(share: number, workers: number, run: (bench: PoolBench) => Promise<void>, seed = 1) {
  return async () => {
    const bench = new PoolBench(workers, seed, undefined, share)
    await run(bench)
    await bench.close()
  }
}

/** One call, on this worker: the others are given other work meanwhile. Then its check is answered too. */
async function callOn(bench: PoolBench, worker: HeldWorker, value: number): Promise<void> {
  const { size } = bench.pool
  for (let i = 0; i < size; i++) bench.submit(0, { batchable: false, model: 3 })
  await bench.settle()
  worker.open[0]?.answer()
  await bench.settle()
  const call = bench.submit(value, CHECKED)
  await bench.settle()
  for (const other of bench.workers) if (other !== worker) other.open[0]?.answer()
  await bench.answerAll()
  assert.equal(call.result?.worker.id, worker.id)
}

const barredOf = (bench: PoolBench, { id }: HeldWorker) => bench.pool.describe(id)?.refused ?? []

export const poolSpotCheckSuite: Suite = {
  name: 'pool: spot checks',
  cases: {
    'a call has its answer before it is checked; who agrees is left in peace': checking(1, 2, async (bench) => {
      const call = bench.submit(7, CHECKED)
      await bench.settle()
      const [first] = bench.workers.filter(({ open }) => open.length === 1)
      first?.open[0]?.answer()
      await bench.settle()
      assert.equal(call.result?.worker.id, first?.id)
      const [second] = bench.workers.filter((worker) => worker !== first)
      assert.deepEqual(second?.values, [[7]], 'computed again')
      second?.open[0]?.answer()
      await bench.settle()
      assert.equal(bench.metrics.valueOf(TALLY, { outcome: 'agreed' }), 1)
      assert.equal(bench.pool.describe(second?.id ?? '')?.served, 0, 'no caller was served by it')
    }),

    'who is outvoted twice is put out for that model, and is known again in the same life': checking(
      1,
      2,
      async (bench) => {
        const prepare = (worker: HeldWorker) => {
          worker.compute = wrongBy(1)
          worker.life = 'a life'
        }
        const liar = bench.join([], prepare)
        await callOn(bench, liar, 1)
        assert.deepEqual(barredOf(bench, liar), [], 'once may happen to the best')
        await callOn(bench, liar, 2)
        const [refused, ...others] = barredOf(bench, liar)
        assert.deepEqual(others, [])
        assert.equal(refused?.model, sha(1))
        assert.match(refused?.reason ?? '', /^computes it wrong: output "x" must be \d at 0, got \d$/)
        assert.equal(bench.metrics.valueOf('shoal_pool_workers_barred_total', { device: 'wasm' }), 1)
        assert.include(bench.logged, 'worker put out for a model that it computes wrong')
        const given = liar.runs.length
        for (let i = 0; i < 20; i++) bench.submit(i, CHECKED)
        await bench.answerAll()
        assert.lengthOf(liar.runs, given)
        const other = [0, 1, 2].map((value) => bench.submit(value, { batchable: false, model: 3 }))
        await bench.answerAll()
        assert.isTrue(other.some(({ result }) => result?.worker.id === liar.id), 'of other models nothing is known')

        bench.pool.remove(liar.id)
        const again = bench.join([], prepare)
        const reborn = bench.join([], (worker) => worker.life = 'another')
        for (let i = 0; i < 6; i++) bench.submit(i, CHECKED)
        await bench.answerAll()
        assert.lengthOf(again.runs, 0)
        assert.lengthOf(barredOf(bench, again), 1)
        assert.isNotEmpty(reborn.runs)
      },
    ),

    'when only such are left, calls fail and say so': checking(1, 2, async (bench) => {
      const honest = [...bench.workers]
      const liar = bench.join([], (worker) => worker.compute = wrongBy(1))
      await callOn(bench, liar, 1)
      await callOn(bench, liar, 2)
      for (const worker of honest) bench.pool.remove(worker.id)
      const call = bench.submit(3, CHECKED)
      await bench.settle()
      assert.equal(call.error?.code, 'unavailable')
      assert.match(call.error?.message ?? '', /no worker is connected but 1 that computed it wrong$/)
    }),

    'after one slip every call is checked, and it is forgotten after some that are right': checking(
      1,
      2,
      async (bench) => {
        const [tired] = bench.workers
        bench.join()
        if (!tired) return
        for (let slip = 0; slip < 3; slip++) {
          tired.compute = wrongBy(1)
          await callOn(bench, tired, 1)
          tired.compute = (inputs) => inputs
          for (let i = 0; i < DEFAULTS.spotCheckAgreements; i++) await callOn(bench, tired, 2)
        }
        assert.deepEqual(barredOf(bench, tired), [])
      },
    ),

    'numbers that devices round differently agree, and those that are none do not': checking(1, 2, async (bench) => {
      const rough = bench.join([], (worker) => worker.compute = (inputs) => rowsOf(valueOf(inputs) * 1.001))
      for (let i = 1; i < 5; i++) await callOn(bench, rough, i)
      assert.deepEqual(barredOf(bench, rough), [])
      const nothing = bench.join([], (worker) => worker.compute = () => rowsOf(NaN))
      await callOn(bench, nothing, 1)
      await callOn(bench, nothing, 1)
      assert.lengthOf(barredOf(bench, nothing), 1)
      const immense = bench.join([], (worker) => worker.compute = () => rowsOf(1e30))
      await callOn(bench, immense, 1)
      await callOn(bench, immense, 1)
      assert.lengthOf(barredOf(bench, immense), 1)
      const silent = bench.join([], (worker) => worker.compute = () => ({}))
      await callOn(bench, silent, 1)
      await callOn(bench, silent, 1)
      assert.lengthOf(barredOf(bench, silent), 1)
    }),

    'only calls of models known to be deterministic, and not too large, are checked': checking(1, 3, async (bench) => {
      for (const needs of [{}, { deterministic: false }]) bench.submit(1, { batchable: false, needs })
      bench.submit(2, { ...CHECKED, inputs: rowsOf(1, LIMITS.maxSpotCheckBytes / 8 + 1) })
      await bench.answerAll()
      assert.equal(bench.workers.flatMap(({ runs }) => runs).length, 3)
    }),

    'none where the share is 0, and about so many where it is not (seeded)': async () => {
      const checksOf = async (share: number, calls: number) => {
        const bench = new PoolBench(3, 5, undefined, share)
        for (let i = 0; i < calls; i++) {
          bench.submit(i, CHECKED)
          await bench.answerAll()
        }
        await bench.close()
        return bench.workers.flatMap(({ runs }) => runs).length - calls
      }
      assert.equal(await checksOf(0, 100), 0)
      // Binomial: 40 on average, and beyond four standard deviations of 6.2 once in 15,000 seeds.
      assert.closeTo(await checksOf(0.05, 800), 40, 25)
    },

    'no call waits for a check: there is none while all others are busy, and one at a time': checking(
      1,
      2,
      async (bench) => {
        const calls = [1, 2, 3, 4].map((value) => bench.submit(value, CHECKED))
        await bench.settle()
        // Two compute and two wait on the wire: whoever answers goes on with the next.
        for (const { result } of calls) assert.isUndefined(result)
        bench.workers[0]?.open[0]?.answer()
        await bench.settle()
        assert.deepEqual(bench.workers.map(({ runs }) => runs.length), [2, 2])
        await bench.answerAll()
        bench.join()
        bench.join()
        const before = bench.workers.reduce((sum, { runs }) => sum + runs.length, 0)
        const two = [8, 9].map((value) => bench.submit(value, CHECKED))
        await bench.settle()
        for (const { open } of bench.workers) open[0]?.answer()
        await bench.settle()
        assert.isTrue(two.every(({ result }) => result !== undefined))
        assert.equal(bench.workers.reduce((sum, { runs }) => sum + runs.length, 0), before + 3)
        const checker = bench.workers.find(({ open }) => open.length === 1)
        const next = bench.submit(10, CHECKED)
        await bench.settle()
        assert.lengthOf(checker?.open ?? [], 1, 'another is idle')
        await bench.answerAll()
        assert.isDefined(next.result)
      },
    ),

    'a checker that vanishes, fails or takes too long blames nobody': checking(1, 2, async (bench) => {
      const check = async (end: (worker: HeldWorker) => unknown) => {
        const call = bench.submit(1, CHECKED)
        await bench.settle()
        bench.workers.find(({ open }) => open.length === 1)?.open[0]?.answer()
        await bench.settle()
        const checker = bench.workers.find(({ open }) => open.length === 1)
        assert.isDefined(call.result)
        if (checker) await end(checker)
        await bench.settle()
      }
      await check(() => bench.clock.advance(DEFAULTS.spotCheckTimeoutMs))
      await check((worker) => bench.vanish(worker))
      bench.join()
      await check(async (worker) => {
        worker.open[0]?.fail(Object.assign(new Error('busy')) as never)
        await bench.settle()
      })
      assert.equal(bench.metrics.valueOf(TALLY, { outcome: 'unfinished' }), 3)
      assert.equal(bench.pool.queued, 0)
      for (const worker of bench.workers) assert.deepEqual(barredOf(bench, worker), [])
    }),

    'volunteers alone put out no worker but a volunteer': checking(1, 0, async (bench) => {
      const own = bench.join()
      const asVolunteer = (worker: HeldWorker) => {
        worker.volunteer = true
        worker.compute = wrongBy(1)
      }
      bench.join([], asVolunteer)
      bench.join([], asVolunteer)
      for (let i = 0; i < 40; i++) {
        bench.submit(i, { ...CHECKED, public: true })
        await bench.answerAll()
      }
      assert.deepEqual(barredOf(bench, own), [])
      assert.include(bench.logged, 'worker outvoted by volunteers alone')
    }),

    'a model of which three workers give three answers is not checked again': checking(1, 3, async (bench) => {
      for (const [i, worker] of bench.workers.entries()) worker.compute = wrongBy(5 * i)
      for (let i = 0; i < 10; i++) {
        bench.submit(1, CHECKED)
        await bench.answerAll()
      }
      assert.equal(bench.metrics.valueOf(TALLY, { outcome: 'undecided' }), 1)
      assert.equal(bench.workers.flatMap(({ runs }) => runs).length, 12)
    }),

    'strings and integers are compared as they are': checking(1, 2, async (bench) => {
      const words = (word: string) => ({ x: Tensor.from('string', [1, 1], [word]) })
      for (const worker of bench.workers) worker.compute = () => words('whale')
      const liar = bench.join([], (worker) => worker.compute = () => words('shoal'))
      await callOn(bench, liar, 1)
      await callOn(bench, liar, 2)
      assert.match(barredOf(bench, liar)[0]?.reason ?? '', /must be whale at 0, got shoal/)
    }),
  },
}
