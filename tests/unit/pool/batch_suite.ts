import { assert } from 'chai'
import { LIMITS } from '../../../shared/base/limits.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { cutCalls, joinCalls } from '../../../shared/pool/join.ts'
import { Pool, type PoolResult } from '../../../shared/pool/pool.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { FakeClock } from '../../../shared/base/clock.ts'
import { encodeFrame, FrameReader } from '../../../shared/wire/frame.ts'
import { encodePayload } from '../../../shared/wire/payload.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import {
  type HeldRun,
  type HeldWorker,
  onBench,
  type PoolBench,
  rowsOf,
  sha,
  type SubmitOptions,
  valueOf,
} from './held_worker.ts'
import { exactly, randomInputs, randomKind, runRowwise } from './row_engine.ts'

/** Fills both places of the only worker, so that what follows is queued together. */
function occupy(bench: PoolBench): HeldWorker {
  const worker = bench.workers[0]
  assert.isDefined(worker)
  for (const value of [-1, -2]) bench.submit(value, { batchable: false, model: 99 })
  assert.equal(worker?.open.length, 2)
  return worker as HeldWorker
}

/** Answers the two runs of `occupy`, upon which what is queued is sent. */
async function release(bench: PoolBench, worker: HeldWorker): Promise<HeldRun[]> {
  for (const run of worker.open) run.answer()
  await bench.settle()
  return worker.open
}

function rowsIn(run: HeldRun | undefined): number {
  return run?.calls.reduce((total, { inputs }) => total + (inputs.x?.shape[0] ?? 0), 0) ?? 0
}

/** Answers runs one at a time until none is left; those with a bad call fail. @returns how many were needed */
async function serve(bench: PoolBench, worker: HeldWorker, isBad: (value: number) => boolean): Promise<number> {
  const before = worker.runs.length - worker.open.length
  for (let run = worker.open[0]; run; run = worker.open[0]) {
    const bad = run.calls.find(({ inputs }) => isBad(valueOf(inputs)))
    if (bad) run.fail(new RpcError('invalid_argument', `Cannot run the model: ${valueOf(bad.inputs)} is bad`))
    else run.answer()
    await bench.settle()
  }
  return worker.runs.length - before
}

export const poolBatchSuite: Suite = {
  name: 'pool: batches',
  cases: {
    'calls that wait are joined into one run; a call that finds a free worker is not kept': onBench(
      1,
      async (bench) => {
        const [worker] = bench.workers
        for (let i = 0; i < 10; i++) bench.submit(i)
        assert.deepEqual(worker?.values, [[0], [1]])
        await bench.answerAll()
        assert.deepEqual(worker?.runs.map(({ calls }) => calls.length), [1, 1, 8])
        assert.deepEqual(bench.submitted.map(({ result }) => result?.timings.batch), [1, 1, 8, 8, 8, 8, 8, 8, 8, 8])
        assert.deepEqual(bench.submitted.map(({ result }) => valueOf(result?.outputs ?? {})), [
          0,
          1,
          2,
          3,
          4,
          5,
          6,
          7,
          8,
          9,
        ])
      },
    ),

    'only calls of one model, of equal names, dtypes and inner sizes share a run': onBench(1, async (bench) => {
      const worker = occupy(bench)
      const x = Tensor.from('float32', [1, 1], [0])
      const kinds: SubmitOptions[] = [
        { inputs: { x } },
        { inputs: { x: Tensor.from('float32', [1, 2], [0, 0]) } },
        { inputs: { x: Tensor.from('int32', [1, 1], [0]) } },
        { inputs: { x, z: x } },
        { inputs: { y: x } },
        { inputs: { x }, model: 2 },
      ]
      for (let round = 0; round < 3; round++) for (const [i, kind] of kinds.entries()) bench.submit(i, kind)
      await release(bench, worker)
      await bench.answerAll()
      assert.deepEqual(worker.runs.slice(2).map(({ calls, model }) => [calls.length, model]), [
        [3, sha(1)],
        [3, sha(1)],
        [3, sha(1)],
        [3, sha(1)],
        [3, sha(1)],
        [3, sha(2)],
      ])
      for (const { calls } of worker.runs.slice(2)) {
        assert.equal(new Set(calls.map(({ inputs }) => JSON.stringify(inputs))).size, 1)
      }
    }),

    'high calls go first and take matching normal ones along': onBench(1, async (bench) => {
      const worker = occupy(bench)
      bench.submit(0, { model: 1 })
      bench.submit(1, { model: 2 })
      bench.submit(2, { model: 2, priority: 'high' })
      const [first, second] = await release(bench, worker)
      assert.deepEqual(first?.calls.map(({ inputs }) => valueOf(inputs)), [2, 1])
      assert.deepEqual(second?.calls.map(({ inputs }) => valueOf(inputs)), [0])
      await bench.answerAll()
    }),

    'models without a batch axis are never joined': onBench(1, async (bench) => {
      for (let i = 0; i < 20; i++) bench.submit(i, { batchable: false })
      await bench.answerAll()
      assert.deepEqual(bench.workers[0]?.runs.map(({ calls }) => calls.length), new Array(20).fill(1))
    }),

    'a run never exceeds the largest batch, whatever the sizes of its calls (seeded)': async () => {
      for (let seed = 1; seed <= 5; seed++) {
        await onBench(1, async (bench) => {
          const random = seededRandom(seed)
          const worker = occupy(bench)
          for (let i = 0; i < 200; i++) bench.submit(i, { rows: 1 + Math.floor(random() ** 4 * 300) })
          await release(bench, worker)
          await bench.answerAll()
          for (const run of worker.runs) {
            assert.isTrue(rowsIn(run) <= LIMITS.maxBatch || run.calls.length === 1, `${rowsIn(run)} rows`)
          }
          assert.isTrue(worker.runs.some(({ calls }) => calls.length > 5), 'calls are joined at all')
        })()
      }
    },

    'a call that exceeds the largest batch by itself runs by itself': onBench(1, async (bench) => {
      const worker = occupy(bench)
      bench.submit(0, { rows: 1000 })
      bench.submit(1, { rows: 1 })
      bench.submit(2, { rows: 256 })
      bench.submit(3, { rows: 255 })
      await release(bench, worker)
      await bench.answerAll()
      assert.deepEqual(worker.runs.slice(2).map(({ calls }) => calls.map(({ inputs }) => valueOf(inputs))), [
        [0],
        [1, 3],
        [2],
      ])
    }),

    'a joined run fits the frame that carries it, its padding included': onBench(1, async (bench) => {
      const worker = occupy(bench)
      // 3 MiB each: five are 15 MiB, and with three of padding 24; six would be 18, and with two 24; nine 27, padded 48.
      const large = { x: Tensor.from('float32', [1, 3 * 2 ** 18], new Float32Array(3 * 2 ** 18)) }
      for (let i = 0; i < 10; i++) bench.submit(i, { inputs: large })
      await release(bench, worker)
      await bench.answerAll()
      const runs = worker.runs.slice(2)
      assert.deepEqual(runs.map(({ calls }) => calls.length), [5, 5])
      for (const { calls, model } of runs) {
        const payload = encodePayload({ model, inputs: joinCalls(calls).inputs }, 'tensors')
        if (payload.codec !== 'tensors') throw new Error('unexpected codec')
        const header = { service: 'shoal.Worker', method: 'run', message: payload.structure }
        const reader = new FrameReader()
        const frames = encodeFrame({ type: 'request', id: 1, header, parts: payload.parts }).map((m) => reader.read(m))
        assert.isDefined(frames.at(-1), `${calls.length} calls`)
      }
    }),

    'a call larger than what may be joined runs by itself': onBench(1, async (bench) => {
      const worker = occupy(bench)
      const huge = { x: Tensor.from('uint8', [1, LIMITS.maxMessageBytes], new Uint8Array(LIMITS.maxMessageBytes)) }
      const small = { x: Tensor.from('uint8', [1, 8], new Uint8Array(8)) }
      bench.submit(0, { inputs: huge, model: 2 })
      for (let i = 1; i < 3; i++) bench.submit(i, { inputs: small })
      await release(bench, worker)
      await bench.answerAll()
      assert.deepEqual(worker.runs.slice(2).map(({ calls }) => calls.length), [1, 2])
    }),

    'one bad call fails alone; its companions succeed, in runs that grow with the logarithm': onBench(
      1,
      async (bench) => {
        for (const [count, badOnes] of [[2, [1]], [16, [5]], [64, [0]], [100, [99]], [64, [3, 40]]] as const) {
          const worker = occupy(bench)
          const calls = Array.from({ length: count }, (_, i) => bench.submit(1000 * count + i))
          await release(bench, worker)
          const bad = new Set<number>(badOnes.map((i) => 1000 * count + i))
          const runs = await serve(bench, worker, (value) => bad.has(value))
          for (const { value, error, result } of calls) {
            if (bad.has(value)) assert.include(error?.message, `${value} is bad`)
            else assert.equal(valueOf(result?.outputs ?? {}), value)
          }
          // Each bad call splits the run once on each level, and each split makes two runs.
          assert.isAtMost(runs, 1 + 2 * bad.size * Math.ceil(Math.log2(count)), `${count} calls`)
        }
      },
    ),

    'all calls bad: each hears its own error': onBench(1, async (bench) => {
      const worker = occupy(bench)
      for (let i = 0; i < 9; i++) bench.submit(i)
      await release(bench, worker)
      await serve(bench, worker, () => true)
      for (const { value, error } of bench.submitted.slice(2)) assert.include(error?.message, `${value} is bad`)
    }),

    'the halves of a failed run are joined with no other call': onBench(1, async (bench) => {
      const worker = occupy(bench)
      for (let i = 0; i < 4; i++) bench.submit(i)
      const [run] = await release(bench, worker)
      assert.equal(run?.calls.length, 4)
      for (let i = 4; i < 8; i++) bench.submit(i)
      run?.fail(new RpcError('internal', 'Cannot run the model'))
      await bench.settle()
      await bench.answerAll()
      const sizes = worker.runs.slice(3).map(({ calls }) => calls.map(({ inputs }) => valueOf(inputs)))
      assert.deepEqual(sizes.toSorted(), [[0, 1], [2, 3], [4], [5, 6, 7]])
    }),

    'an answer with the wrong number of results fails nobody who can be answered alone': onBench(1, async (bench) => {
      bench.pool.remove('w0')
      const runs: number[] = []
      bench.pool.add({
        id: 'odd',
        name: 'odd',
        device: 'wasm',
        run: async (_model, calls) => {
          runs.push(calls.length)
          await undefined
          return { calls: [{ outputs: calls[0]?.inputs ?? {} }], timings: { loadMs: 0, waitMs: 0, runMs: 0 } }
        },
      })
      for (let i = 0; i < 6; i++) bench.submit(i)
      await bench.settle()
      assert.deepEqual(bench.submitted.map(({ result }) => valueOf(result?.outputs ?? {})), [0, 1, 2, 3, 4, 5])
      assert.equal(Math.max(...runs), 4)
      bench.pool.remove('odd')
    }),

    'joined or not, each call gets exactly the outputs it would have got alone (seeded)': async () => {
      const clock = new FakeClock()
      let joined = 0
      for (let seed = 1; seed <= 15; seed++) {
        const random = seededRandom(seed)
        const pool = new Pool({ clock, metrics: new Metrics() })
        for (let i = 0; i < 2; i++) {
          pool.add({
            id: `w${i}`,
            name: '',
            device: 'wasm',
            run: async (_model, calls) => {
              const { inputs, rows } = joinCalls(calls)
              for (let left = Math.floor(random() * 8); left > 0; left--) await undefined
              return { calls: cutCalls(runRowwise(inputs), rows), timings: { loadMs: 0, waitMs: 0, runMs: 0 } }
            },
          })
        }
        const kinds = Array.from({ length: 3 }, () => randomKind(random))
        const inputs = Array.from({ length: 60 }, () => {
          const kind = kinds[Math.floor(random() * kinds.length)] ?? []
          return randomInputs(kind, random() < 0.05 ? 0 : 1 + Math.floor(random() * 5), random)
        })
        const results: Promise<PoolResult>[] = inputs.map((given) =>
          pool.run({
            model: { sha256: sha(1), batchable: true },
            inputs: given,
            priority: random() < 0.2 ? 'high' : 'normal',
            signal: new AbortController().signal,
          })
        )
        for (const [i, result] of (await Promise.all(results)).entries()) {
          assert.deepEqual(exactly(result.outputs), exactly(runRowwise(inputs[i] ?? {})), `seed ${seed}, call ${i}`)
          joined = Math.max(joined, result.timings.batch)
        }
        assert.equal(pool.queued + pool.models, 0)
      }
      assert.isAbove(joined, 10, 'calls are joined at all')
      assert.equal(clock.pending, 0)
    },

    'the timings tell queue from worker': onBench(1, async (bench) => {
      bench.submit(0, { inputs: rowsOf(0) })
      await bench.clock.advance(30)
      bench.submit(1, { batchable: false })
      bench.submit(2, { batchable: false })
      await bench.clock.advance(12)
      await bench.answerAll()
      const timings = bench.submitted.map(({ result }) => [result?.timings.queueMs, result?.timings.workerMs])
      assert.deepEqual(timings, [[0, 42], [0, 12], [12, 0]])
    }),

    'calls of a model that says so wait for others though a worker is free, and no longer': onBench(
      1,
      async (bench) => {
        const [worker] = bench.workers
        const delayUs = 5_000
        bench.submit(0, { delayUs })
        await bench.clock.advance(3)
        bench.submit(1, { delayUs })
        // Others do not wait with them.
        bench.submit(9, { model: 2, batchable: false })
        assert.deepEqual(worker?.values, [[9]])
        await bench.clock.advance(1.9)
        assert.deepEqual(worker?.values, [[9]])
        await bench.clock.advance(0.2)
        assert.deepEqual(worker?.values, [[9], [0, 1]])
        await bench.answerAll()
        // A full run does not wait.
        for (let i = 0; i < LIMITS.maxBatch; i++) bench.submit(i, { delayUs })
        assert.equal(worker?.values[0]?.length, LIMITS.maxBatch)
        await bench.answerAll()
        // Nor does one that cannot be shared, and one whose callers have gone leaves nothing behind.
        bench.submit(3, { delayUs, batchable: false })
        assert.deepEqual(worker?.values, [[3]])
        await bench.answerAll()
        bench.submit(4, { delayUs }).abort()
        await bench.clock.advance(10)
      },
    ),
  },
}
