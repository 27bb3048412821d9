import { assert } from 'chai'
import type { Suite } from '../../suite.ts'
import { type HeldWorker, onBench, type PoolBench, sha } from './held_worker.ts'

const PUBLIC = { public: true, batchable: false }
const PRIVATE = { batchable: false }

function volunteer(bench: PoolBench): HeldWorker {
  return bench.join([], (worker) => worker.volunteer = true)
}

export const poolVolunteerSuite: Suite = {
  name: 'pool: volunteers',
  cases: {
    'a private model waits for no volunteer': onBench(0, async (bench) => {
      const stranger = volunteer(bench)
      const refused = bench.submit(1, PRIVATE)
      await bench.settle()
      assert.equal(refused.error?.code, 'unavailable')
      assert.isTrue(refused.error?.neverSent)
      const served = bench.submit(2, PUBLIC)
      await bench.answerAll()
      assert.equal(served.result?.worker.id, stranger.id)
    }),

    'it waits for those who may run it, while public calls behind it go to volunteers': onBench(1, async (bench) => {
      const [own] = bench.workers
      const stranger = volunteer(bench)
      // The first two of the private calls fill the one worker that may run them, and its wire.
      for (const value of [1, 2, 3, 4]) bench.submit(value, PRIVATE)
      bench.submit(5, { ...PUBLIC, model: 2 })
      bench.submit(6, { ...PUBLIC, model: 2 })
      await bench.settle()
      assert.deepEqual(own?.values.flat(), [1, 2])
      assert.deepEqual(stranger.values.flat(), [5, 6])
      await bench.answerAll()
      assert.deepEqual(own?.runs.map(({ model }) => model), new Array(4).fill(sha(1)))
      assert.deepEqual(stranger.runs.map(({ model }) => model), new Array(2).fill(sha(2)))
    }),

    'an idle volunteer takes over public runs, and private ones never': onBench(1, async (bench) => {
      const [own] = bench.workers
      bench.submit(1, PRIVATE)
      bench.submit(2, PRIVATE)
      const stranger = volunteer(bench)
      await bench.settle()
      assert.deepEqual([own?.values.flat(), stranger.values.flat()], [[1, 2], []])
      await bench.answerAll()
      const busy = bench.submit(3, PUBLIC)
      const other = bench.submit(4, PUBLIC)
      await bench.answerAll()
      assert.notEqual(busy.result?.worker.id, other.result?.worker.id)
      assert.lengthOf(stranger.runs, 1)
    }),

    'when the last who may run them leaves, private calls fail and public ones stay': onBench(1, async (bench) => {
      const [own] = bench.workers
      const stranger = volunteer(bench)
      bench.submit(0, { ...PUBLIC, model: 3 })
      bench.submit(0, { ...PUBLIC, model: 3 })
      const calls = [1, 2, 3, 4].map((value) => bench.submit(value, PRIVATE))
      const open = bench.submit(5, { ...PUBLIC, model: 2 })
      if (own) bench.vanish(own)
      await bench.settle()
      assert.deepEqual(calls.map(({ error }) => error?.code), new Array(4).fill('unavailable'))
      await bench.answerAll()
      assert.equal(open.result?.worker.id, stranger.id)
    }),

    'the same bytes, public under one name and private under another, share no run': onBench(1, async (bench) => {
      const [own] = bench.workers
      for (const value of [1, 2]) bench.submit(value, { batchable: false, model: 9 })
      bench.submit(3)
      bench.submit(4, { public: true })
      bench.submit(5)
      const stranger = volunteer(bench)
      await bench.settle()
      assert.deepEqual(stranger.values, [[4]])
      await bench.answerAll()
      assert.isTrue(own?.runs.every(({ calls }) => calls.length <= 2))
      assert.lengthOf(stranger.runs, 1)
    }),
  },
}
