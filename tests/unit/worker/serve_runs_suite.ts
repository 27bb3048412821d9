import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { Worker } from '../../../shared/contracts/worker.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import { Peer } from '../../../shared/rpc/peer.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { ModelSource } from '../../../shared/worker/model_source.ts'
import { serveRuns } from '../../../shared/worker/serve_runs.ts'
import type { Suite } from '../../suite.ts'
import { exactly, randomInputs, randomKind, runRowwise } from '../pool/row_engine.ts'
import { settle, VirtualTime } from '../virtual_time.ts'
import { RowEngine } from './row_engine_held.ts'

const MODEL = 'a'.repeat(64)
const ones = (rows = 1) => ({ x: Tensor.from('float32', [rows], new Array(rows).fill(1)) })

/** A worker behind real frames, with a source of models that the test controls. */
class ServeBench {
  readonly clock = new VirtualTime(1_000_000)
  readonly engine = new RowEngine()
  readonly fetched: string[] = []
  readonly signals: AbortSignal[] = []
  fetch: (sha256: string) => Promise<Uint8Array<ArrayBuffer>> = () => Promise.resolve(new Uint8Array(3))
  readonly source: ModelSource = {
    get: (sha256, signal) => {
      this.fetched.push(sha256)
      this.signals.push(signal)
      return this.fetch(sha256)
    },
  }
  readonly runs = serveRuns({
    engine: this.engine,
    models: this.source,
    clock: this.clock,
    memoryBytes: 100,
    onChange: () => this.changes++,
  })
  readonly relay: Peer
  changes = 0
  readonly worker: Peer

  constructor() {
    this.relay = new Peer({ write: (message) => queueMicrotask(() => this.worker.receive(message)), clock: this.clock })
    this.worker = new Peer({
      write: (message) => queueMicrotask(() => this.relay.receive(message)),
      serve: this.runs.send,
      clock: this.clock,
    })
  }

  run(
    inputs: Record<string, Tensor> = ones(),
    options: { signal?: AbortSignal; model?: string; warmUp?: number[] } = {},
  ) {
    const transport = { send: this.relay.send, codec: 'tensors' as const, close() {} }
    const client = clientOver(Worker, { transport, clock: this.clock, timeoutMs: LIMITS.maxTimeoutMs })
    const { model = MODEL, warmUp } = options
    return client.run({ model, inputs, warmUp }, { signal: options.signal })
  }

  /** The code that a run ends with, or 'ok'. */
  async end(...given: Parameters<ServeBench['run']>): Promise<string> {
    return await this.run(...given).then(() => 'ok', (error) => error.code)
  }

  async close(): Promise<void> {
    await settle(200)
    assert.equal(this.relay.inFlight + this.worker.serving, 0, 'calls')
    assert.equal(this.engine.running, 0, 'runs')
    assert.equal(this.clock.pending, 0, 'timers')
  }
}

function onWorker(run: (bench: ServeBench) => Promise<void>): () => Promise<void> {
  return async () => {
    const bench = new ServeBench()
    await run(bench)
    await bench.close()
  }
}

export const serveRunsSuite: Suite = {
  name: 'worker: runs',
  cases: {
    'a run comes back exactly as the engine made it, through real frames (seeded)': onWorker(async (bench) => {
      const random = seededRandom(21)
      for (let round = 0; round < 20; round++) {
        const kind = randomKind(random)
        const inputs = randomInputs(kind, 1 + Math.floor(random() * 5), random)
        const { outputs } = await bench.run(inputs)
        assert.deepEqual(exactly(outputs), exactly(runRowwise(inputs)))
      }
      assert.equal(bench.engine.loads.length, 1)
    }),

    'a model that was just loaded is warmed up, once, in the sizes asked for': onWorker(async (bench) => {
      const { runs } = bench.engine
      const ends = [bench.end(ones(), { warmUp: [1, 6] }), bench.end(ones(3), { warmUp: [1, 6] })]
      assert.deepEqual(await Promise.all(ends), ['ok', 'ok'])
      // Six are padded to eight, as a run of six would be.
      assert.deepEqual(runs.splice(0, 2), [1, 8])
      assert.deepEqual(runs.splice(0).sort(), [1, 3])
      assert.equal(await bench.end(ones(), { warmUp: [1, 6] }), 'ok')
      assert.deepEqual(runs.splice(0), [1])
      bench.engine.restart()
      assert.equal(await bench.end(ones(), { warmUp: [1, 6] }), 'ok')
      assert.deepEqual(runs, [1, 8, 1], 'a restarted engine starts cold')
    }),

    'however many calls want a model, it is loaded once': onWorker(async (bench) => {
      const bytes = Promise.withResolvers<Uint8Array<ArrayBuffer>>()
      bench.fetch = () => bytes.promise
      const ends = Array.from({ length: 10 }, () => bench.end())
      await settle()
      assert.deepEqual(bench.runs.loads.loaded, [], 'a load under way is not a loaded model')
      bytes.resolve(new Uint8Array(7))
      assert.deepEqual(await Promise.all(ends), new Array(10).fill('ok'))
      assert.deepEqual(bench.fetched, [MODEL])
      assert.deepEqual(bench.engine.loads, [{ key: MODEL, bytes: 7 }])
      assert.deepEqual(bench.runs.loads.loaded, [MODEL])
    }),

    'models are loaded beside each other': onWorker(async (bench) => {
      const slow = Promise.withResolvers<Uint8Array<ArrayBuffer>>()
      bench.fetch = (sha256) => sha256 === MODEL ? slow.promise : Promise.resolve(new Uint8Array(1))
      const waiting = bench.end()
      assert.equal(await bench.end(ones(), { model: 'b'.repeat(64) }), 'ok')
      slow.resolve(new Uint8Array(1))
      assert.equal(await waiting, 'ok')
    }),

    'the error of a load reaches all who waited for it, and the next call tries again': onWorker(async (bench) => {
      bench.fetch = () => Promise.reject(new RpcError('data_loss', 'Cannot load the model: its SHA-256 must be …'))
      assert.deepEqual(await Promise.all([bench.end(), bench.end()]), ['data_loss', 'data_loss'])
      assert.equal(bench.fetched.length, 1)
      bench.fetch = () => Promise.resolve(new Uint8Array(1))
      bench.engine.failLoad = new RpcError('invalid_argument', 'Cannot load the model: opset')
      assert.equal(await bench.end(), 'invalid_argument')
      bench.engine.failLoad = undefined
      assert.equal(await bench.end(), 'ok')
      assert.equal(bench.fetched.length, 3)
    }),

    'a caller who goes while a model loads does not wait for it; the load goes on for the next': onWorker(
      async (bench) => {
        const bytes = Promise.withResolvers<Uint8Array<ArrayBuffer>>()
        bench.fetch = () => bytes.promise
        const gone = new AbortController()
        const end = bench.end(ones(), { signal: gone.signal })
        await settle()
        gone.abort()
        assert.equal(await end, 'canceled')
        await settle()
        assert.equal(bench.worker.serving, 0, 'the worker has let go of the call')
        assert.isFalse(bench.signals[0]?.aborted)
        bytes.resolve(new Uint8Array(1))
        assert.equal(await bench.end(), 'ok')
        assert.equal(bench.fetched.length, 1)
        assert.equal(bench.engine.runs.length, 1)
      },
    ),

    'a load that never ends is given up, and tried again': onWorker(async (bench) => {
      bench.fetch = () => new Promise(() => {})
      const end = bench.end()
      await bench.clock.advance(DEFAULTS.modelLoadTimeoutMs)
      assert.equal(await end, 'deadline_exceeded')
      assert.isTrue(bench.signals[0]?.aborted)
      bench.fetch = () => Promise.resolve(new Uint8Array(1))
      assert.equal(await bench.end(), 'ok')
    }),

    'an engine that was restarted is given its models again, once': onWorker(async (bench) => {
      assert.equal(await bench.end(), 'ok')
      bench.engine.restart()
      assert.deepEqual(await Promise.all([bench.end(), bench.end(), bench.end()]), ['ok', 'ok', 'ok'])
      assert.equal(bench.engine.loads.length, 2)
      assert.deepEqual(bench.runs.loads.loaded, [MODEL])
    }),

    'an engine that forgets at once is not asked for ever': onWorker(async (bench) => {
      bench.engine.load = async () => {
        bench.engine.loads.push({ key: MODEL, bytes: 0 })
        return { placement: 'full' }
      }
      assert.equal(await bench.end(), 'not_found')
      assert.equal(bench.engine.loads.length, 2)
    }),

    'one run at a time; the time waited for others is told': onWorker(async (bench) => {
      await bench.end()
      const gate = Promise.withResolvers<void>()
      bench.engine.gate = gate.promise
      const replies = [1, 2, 3].map((value) => bench.run({ x: Tensor.from('float32', [1], [value]) }))
      await settle()
      await bench.clock.advance(70)
      assert.equal(bench.engine.running, 1)
      gate.resolve()
      const timings = (await Promise.all(replies)).map(({ timings }) => timings)
      assert.deepEqual(timings[0], { loadMs: 0, waitMs: 0, runMs: 5 })
      assert.deepEqual(timings[2], { loadMs: 0, waitMs: 70, runMs: 5 })
      assert.equal(bench.engine.mostAtOnce, 1)
    }),

    'a run that is cancelled before its turn never reaches the engine, and holds up nobody': onWorker(async (bench) => {
      await bench.end()
      const gate = Promise.withResolvers<void>()
      bench.engine.gate = gate.promise
      const gone = new AbortController()
      const first = bench.end(ones(1))
      const cancelled = bench.end(ones(2), { signal: gone.signal })
      const last = bench.end(ones(3))
      await settle()
      gone.abort()
      assert.equal(await cancelled, 'canceled')
      assert.equal(bench.engine.running, 1, 'the one behind it must still wait')
      gate.resolve()
      assert.deepEqual(await Promise.all([first, last]), ['ok', 'ok'])
      assert.deepEqual(bench.engine.runs, [1, 1, 3])
      assert.equal(bench.engine.mostAtOnce, 1)
    }),

    'a failed run lets the next one go': onWorker(async (bench) => {
      bench.engine.failRun = new RpcError('internal', 'Cannot run: shape')
      assert.deepEqual(await Promise.all([bench.end(), bench.end()]), ['internal', 'internal'])
      bench.engine.failRun = undefined
      assert.equal(await bench.end(), 'ok')
    }),

    'outputs that no frame can hold cost the run, not the socket and all that shares it': onWorker(
      async (bench) => {
        const large = new Uint8Array(LIMITS.maxMessageBytes / 2)
        bench.engine.run = (_key, inputs) => {
          const rows = inputs.x?.shape[0] ?? 1
          const y = new Tensor('uint8', [rows, large.length], new Uint8Array(rows * large.length))
          return Promise.resolve({ outputs: { y }, timings: { waitMs: 0, runMs: 1 } })
        }
        assert.equal(await bench.end(ones(3)), 'resource_exhausted')
        // A part of it fits, which is how the pool tries it next.
        assert.equal(await bench.end(ones(1)), 'ok')
      },
    ),

    'models give way to others within the memory, the longest unused first, and none in use': onWorker(
      async (bench) => {
        const [a, b, c] = ['a', 'b', 'c'].map((letter) => letter.repeat(64))
        bench.fetch = () => Promise.resolve(new Uint8Array(20))
        // Each takes 40 of 100 bytes.
        await bench.run(ones(), { model: a })
        await bench.run(ones(), { model: b })
        await bench.run(ones(), { model: a })
        assert.deepEqual(bench.runs.loads.loaded, [b, a])
        assert.equal(bench.runs.loads.usedBytes, 80)
        await bench.run(ones(), { model: c })
        assert.deepEqual(bench.runs.loads.loaded, [a, c])
        assert.deepEqual(bench.engine.unloads, [b])
        assert.equal(bench.changes, 4)
        // What a run needs stays, though it is the longest unused and there is too little for both.
        const gate = Promise.withResolvers<void>()
        bench.engine.gate = gate.promise
        const held = bench.run(ones(), { model: a })
        const other = bench.run(ones(), { model: c })
        const third = bench.run(ones(), { model: b })
        await settle(100)
        assert.sameMembers(bench.runs.loads.loaded, [a, b, c])
        assert.equal(bench.runs.loads.usedBytes, 120)
        gate.resolve()
        await Promise.all([held, other, third])
        await settle(100)
        assert.equal(bench.runs.loads.usedBytes, 80)
        assert.equal(bench.runs.loads.loaded.length, 2)
      },
    ),
  },
}
