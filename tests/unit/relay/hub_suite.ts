import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { Relay } from '../../../shared/contracts/worker.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import { encodeFrame } from '../../../shared/wire/frame.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { settle } from '../virtual_time.ts'
import { onHub, type WorkerEnd } from './worker_end.ts'

const { helloTimeoutMs, pingIntervalMs } = DEFAULTS

/** What the caller is told, or the value that came back. */
async function outcome(call: Promise<number>): Promise<number | string> {
  return await call.catch((error) => error instanceof RpcError ? error.code : String(error))
}

export const hubSuite: Suite = {
  name: 'relay: hub and sessions',
  cases: {
    'hello, welcome, a call and its answer with where its time went': onHub(async (bench) => {
      const end = await bench.join({ name: 'my tab', models: ['a'.repeat(64)] })
      const [welcome] = end.frames
      assert.deepEqual(welcome?.header, { worker: end.saved[0]?.id, relay: 'relay-1', pingIntervalMs })
      let metadata: Record<string, string> = {}
      const call = bench.infer(42, { onMetadata: (got) => metadata = got })
      await settle()
      await bench.clock.advance(10)
      end.runs[0]?.answer()
      assert.equal(await call, 42)
      assert.equal(metadata['shoal-worker'], end.saved[0]?.id)
      assert.equal(metadata['shoal-device'], 'wasm')
      assert.equal(
        metadata['server-timing'],
        'queue;dur=0, load;dur=1, wait;dur=2, run;dur=3, wire;dur=4, batch;desc="1"',
      )
      const { relay, workers } = await bench.pool().workers({})
      assert.equal(relay, 'relay-1')
      assert.deepEqual(workers, [{
        ...{
          id: end.saved[0]?.id ?? '',
          name: 'my tab',
          device: 'wasm',
          build: 'wasm',
          adapter: 'CPU',
          reason: 'none',
        },
        ...{ fallbackAdapter: false, draining: false, inFlight: 0, served: 1, connectedMs: 10 },
        models: ['a'.repeat(64), '5'.repeat(64)],
      }])
      assert.notProperty(workers[0], 'incarnation', 'who knows it could take the worker’s place')
    }),

    'a socket that says nothing is closed in time with 1008, one that says hello is not': onHub(async (bench) => {
      const [silent, joined] = [bench.open(), await bench.join()]
      await bench.clock.advance(helloTimeoutMs - 1)
      assert.isFalse(silent.isClosed)
      await bench.clock.advance(1)
      assert.equal(silent.closed?.code, 1008)
      await bench.clock.advance(10 * helloTimeoutMs)
      assert.isFalse(joined.isClosed)
    }),

    'an admission that takes too long ends in time as well, and admits nobody afterwards': onHub(async (bench) => {
      const admitted = Promise.withResolvers<{ volunteer: boolean }>()
      bench.admit = () => admitted.promise
      const end = bench.open()
      end.hello()
      await settle()
      assert.isFalse(end.isClosed)
      await bench.clock.advance(helloTimeoutMs)
      assert.equal(end.closed?.code, 1008)
      admitted.resolve({ volunteer: false })
      await settle()
      assert.deepEqual(end.frames, [])
      assert.deepEqual(end.saved, [])
    }),

    'a socket that goes while it is admitted joins nothing': onHub(async (bench) => {
      const admitted = Promise.withResolvers<{ volunteer: boolean }>()
      bench.admit = () => admitted.promise
      const end = bench.open()
      end.hello()
      await settle()
      end.vanish()
      admitted.resolve({ volunteer: false })
      await settle()
      assert.deepEqual(bench.hub.workers(), [])
      assert.deepEqual(bench.populated, [])
    }),

    'a refused token closes with 1008, and says no more than the error does': onHub(async (bench) => {
      const end = bench.open()
      end.hello({ token: 'bad' })
      await settle()
      assert.deepEqual(end.closed, { code: 1008, reason: 'Cannot enrol the worker: no' })
      bench.admit = () => Promise.reject(new TypeError('database password is hunter2'))
      const other = bench.open()
      other.hello()
      await settle()
      assert.equal(other.closed?.code, 1008)
      assert.notInclude(other.closed?.reason, 'hunter2')
    }),

    'a malformed hello closes with 1002, naming the field': onHub(async (bench) => {
      const bad: [Record<string, unknown>, string][] = [
        [{ token: 5 }, 'token'],
        [{ name: 'x'.repeat(201) }, 'name'],
        [{ incarnation: '' }, 'incarnation'],
        [{ info: { device: 'cuda' } }, 'info.device'],
        [{ models: ['not a hash'] }, 'models.0'],
        [{ models: new Array(1001).fill('a'.repeat(64)) }, 'models'],
      ]
      for (const [fields, path] of bad) {
        const end = bench.open()
        end.hello(fields)
        await settle()
        assert.equal(end.closed?.code, 1002, path)
        assert.include(end.closed?.reason, path)
      }
    }),

    'a second hello, a goodbye before the welcome, a welcome from a worker: 1002': onHub(async (bench) => {
      const twice = await bench.join()
      twice.hello()
      const early = bench.open()
      early.peer.control('goodbye', {})
      const confused = bench.open()
      confused.peer.control('welcome', {})
      const hurried = bench.open()
      hurried.hello()
      hurried.hello()
      await settle()
      for (const end of [twice, early, confused, hurried]) assert.equal(end.closed?.code, 1002)
      assert.deepEqual(bench.hub.workers(), [])
    }),

    'text is answered if it is a ping, and refused if it is anything else': onHub(async (bench) => {
      const end = await bench.join()
      end.session?.receive('ping')
      await settle()
      assert.deepEqual(end.texts, ['pong'])
      end.session?.receive('pong')
      assert.isFalse(end.isClosed)
      end.session?.receive('{"hello":1}')
      assert.equal(end.closed?.code, 1003)
    }),

    'bytes that break the protocol close with 1002, too many of them with 1009': onHub(async (bench) => {
      const [broken, long, greedy] = [await bench.join(), await bench.join(), bench.open()]
      broken.session?.receive(new Uint8Array(20))
      assert.equal(broken.closed?.code, 1002)
      long.session?.receive(new Uint8Array(LIMITS.maxFrameBytes + 1))
      assert.equal(long.closed?.code, 1009)
      // Before the welcome nobody may have a body put together in memory.
      const [fragment] = encodeFrame({
        type: 'request',
        id: 1,
        header: {},
        parts: [new Uint8Array(3 * LIMITS.maxFrameBytes)],
      })
      greedy.session?.receive(fragment ?? new Uint8Array())
      assert.equal(greedy.closed?.code, 1009)
    }),

    'a reason in any language fits a close frame': onHub(async (bench) => {
      bench.admit = () => Promise.reject(new RpcError('unauthenticated', '鯨'.repeat(200)))
      const end = bench.open()
      end.hello()
      await settle()
      assert.equal(end.closed?.code, 1008)
      assert.isAtMost(end.closed?.reason.length ?? 999, 123)
    }),

    'a socket that breaks while it is welcomed is given up, and nothing is thrown': onHub(async (bench) => {
      const end = bench.open()
      end.hello()
      end.broken = true
      await settle()
      assert.equal(end.closed?.code, 1011)
      const broken = await bench.join()
      broken.broken = true
      assert.doesNotThrow(() => broken.session?.receive('ping'))
      assert.equal(broken.closed?.code, 1011)
    }),

    'what comes after the end is ignored': onHub(async (bench) => {
      const end = await bench.join()
      const closed = () => bench.logged.length
      end.vanish()
      const before = closed()
      end.session?.receive(new Uint8Array(3))
      end.session?.receive('ping')
      end.session?.end('again')
      end.session?.close(1000, 'again')
      await settle()
      assert.equal(closed(), before)
      assert.isFalse(end.isClosed)
      assert.deepEqual(end.texts, [])
    }),

    'a goodbye lets calls in flight finish, sends nothing more, then closes': onHub(async (bench) => {
      const [leaving, staying] = [await bench.join(), await bench.join()]
      const first = bench.infer(1)
      await settle()
      assert.equal(leaving.runs.length, 1)
      leaving.peer.control('goodbye', {})
      await settle()
      assert.isTrue(bench.hub.workers()[0]?.draining)
      const second = bench.infer(2)
      await settle()
      assert.equal(staying.runs.length, 1)
      assert.isFalse(leaving.isClosed)
      leaving.runs[0]?.answer()
      staying.runs[0]?.answer()
      assert.deepEqual(await Promise.all([first, second]), [1, 2])
      await settle()
      assert.deepEqual(leaving.closed, { code: 1000, reason: 'goodbye' })
      assert.equal(bench.hub.workers().length, 1)
    }),

    'a worker that vanishes while it drains is gone once': onHub(async (bench) => {
      const [leaving, staying] = [await bench.join(), await bench.join()]
      const call = bench.infer(1)
      await settle()
      leaving.peer.control('goodbye', {})
      await settle()
      leaving.vanish()
      await settle()
      staying.runs[0]?.answer()
      assert.equal(await call, 1)
      assert.isFalse(leaving.isClosed)
    }),

    'a call whose worker vanishes is answered by another': onHub(async (bench) => {
      const [first, second] = [await bench.join(), await bench.join()]
      const calls = [1, 2, 3, 4].map((value) => bench.infer(value))
      await settle()
      first.vanish()
      await settle()
      for (let i = 0; i < 4; i++) {
        for (const run of second.runs) run.answer()
        await settle()
      }
      assert.deepEqual(await Promise.all(calls), [1, 2, 3, 4])
    }),

    'a worker that connects anew takes the place of its dead socket at once': onHub(async (bench) => {
      const dead = await bench.join({ incarnation: 'life 1' })
      const call = bench.infer(5)
      await settle()
      assert.equal(dead.runs.length, 1)
      const back = await bench.join({ incarnation: 'life 1' })
      assert.equal(dead.closed?.code, 1001)
      await settle()
      back.runs[0]?.answer()
      assert.equal(await call, 5)
      assert.equal(bench.hub.workers().length, 1)
      assert.isFalse(back.isClosed)
    }),

    'sockets that show no life are swept; pings that the runtime answered count': onHub(async (bench) => {
      const [silent, pinging, unseen] = [await bench.join(), await bench.join(), await bench.join()]
      for (let i = 0; i < 6; i++) {
        await bench.clock.advance(pingIntervalMs)
        pinging.session?.receive('ping')
        unseen.lastAliveMs = bench.clock.now()
        bench.hub.sweep()
        // Two pings and a half.
        assert.equal(silent.closed?.code, i < 2 ? undefined : 1001, `${i + 1} pings`)
      }
      assert.isUndefined(pinging.closed ?? unseen.closed)
      assert.equal(bench.hub.workers().length, 2)
    }),

    'after a sleep, sockets are taken back from their attachments and go on serving': onHub(async (bench) => {
      const before = await bench.join({ name: 'sleeper' })
      const [attachment] = before.saved
      if (!attachment) throw new Error('nothing was saved')
      assert.isBelow(JSON.stringify(attachment).length, LIMITS.maxAttachmentBytes)
      before.vanish()
      await bench.clock.advance(60_000)
      const after = bench.restore(attachment)
      assert.deepEqual(after.frames, [], 'no second welcome')
      assert.deepEqual(bench.hub.workers().map(({ id, name, connectedMs }) => [id, name, connectedMs]), [
        [attachment.id, 'sleeper', 60_000],
      ])
      const call = bench.infer(8)
      await settle()
      after.runs[0]?.answer()
      assert.equal(await call, 8)
      // Its hello timer is long over, and it may say goodbye like any other.
      await bench.clock.advance(2 * helloTimeoutMs)
      after.peer.control('goodbye', {})
      await settle()
      assert.equal(after.closed?.code, 1000)
    }),

    'an answer to a call of the life before a sleep is not taken for another’s': onHub(async (bench) => {
      const before = await bench.join()
      const [attachment] = before.saved
      if (!attachment) throw new Error('nothing was saved')
      before.vanish()
      const after = bench.restore(attachment)
      const call = bench.infer(1)
      await settle()
      for (let id = 1; id <= 50; id++) {
        const header = { message: { outputs: {}, timings: { loadMs: 0, waitMs: 0, runMs: 0 } } }
        for (const message of encodeFrame({ type: 'response', id, header, parts: [] })) after.session?.receive(message)
      }
      after.runs[0]?.answer()
      assert.equal(await call, 1)
      assert.equal(bench.metrics.valueOf('shoal_relay_late_answers_total'), 50)
    }),

    'the largest hello has an attachment that fits a hibernating socket': onHub(async (bench) => {
      const wide = (length: number) => '鯨'.repeat(length)
      const info = {
        device: 'webgpu' as const,
        build: wide(200),
        adapter: wide(200),
        fallbackAdapter: true,
        fp16: true,
      }
      const end = await bench.join({ name: wide(200), incarnation: wide(200), info: { ...info, reason: wide(1000) } })
      const bytes = new TextEncoder().encode(JSON.stringify(end.saved[0])).byteLength
      assert.isBelow(bytes, LIMITS.maxAttachmentBytes)
    }),

    'a full relay turns sockets away with 1013': onHub(async (bench) => {
      const ends: WorkerEnd[] = []
      for (let i = 0; i < LIMITS.maxWorkersPerRelay; i++) ends.push(bench.open())
      const over = bench.open()
      assert.isUndefined(over.session)
      assert.equal(over.closed?.code, 1013)
      ends[0]?.vanish()
      assert.isDefined(bench.open().session)
    }),

    'the relay says when it comes to have workers that take calls, and when it has none left': onHub(async (bench) => {
      const first = await bench.join()
      assert.deepEqual(bench.populated, [true])
      const second = await bench.join()
      const refused = bench.open()
      refused.hello({ token: 'bad' })
      await settle()
      first.vanish()
      assert.deepEqual(bench.populated, [true])
      const call = bench.infer(1)
      await settle()
      second.peer.control('goodbye', {})
      await settle()
      assert.deepEqual(bench.populated, [true, false], 'who only drains takes no calls')
      second.runs[0]?.answer()
      assert.equal(await call, 1)
      await settle()
      await bench.join()
      assert.deepEqual(bench.populated, [true, false, true])
    }),

    'late answers are counted and reach nobody': onHub(async (bench) => {
      const end = await bench.join()
      const gone = new AbortController()
      const call = outcome(bench.infer(1, { signal: gone.signal }))
      await settle()
      gone.abort()
      assert.equal(await call, 'canceled')
      await settle()
      assert.isTrue(end.runs[0]?.signal.aborted, 'the worker is told')
      const id = 1
      for (const message of encodeFrame({ type: 'response', id, header: { message: {} }, parts: [] })) {
        end.session?.receive(message)
      }
      assert.equal(bench.metrics.valueOf('shoal_relay_late_answers_total'), 1)
      assert.isFalse(end.isClosed)
    }),

    'a worker’s answer that is malformed fails the call, not the relay': onHub(async (bench) => {
      const end = await bench.join()
      const call = outcome(bench.infer(1))
      await settle()
      const header = { message: { outputs: 'none', timings: {} } }
      for (const message of encodeFrame({ type: 'response', id: 1, header, parts: [] })) end.session?.receive(message)
      assert.equal(await call, 'internal')
      assert.equal(bench.hub.workers().length, 1)
    }),

    'calls are checked before they are queued': onHub(async (bench) => {
      await bench.join()
      const call = bench.pool().run({ model: { sha256: 'nonsense', batchable: true }, inputs: {} })
      assert.equal(await call.then(() => 'answered', (error) => error.code), 'invalid_argument')
    }),

    'closing the relay ends every session and every call': onHub(async (bench) => {
      const [joined, greeting] = [await bench.join(), bench.open()]
      const call = outcome(bench.infer(1))
      await settle()
      bench.hub.close()
      assert.equal(joined.closed?.code, 1001)
      assert.equal(greeting.closed?.code, 1001)
      assert.equal(await call, 'unavailable')
      assert.deepEqual(bench.populated, [true, false])
    }),

    'a store that is away closes with 1013: the worker may come again': onHub(async (bench) => {
      for (const code of ['unavailable', 'deadline_exceeded'] as const) {
        bench.admit = () => Promise.reject(new RpcError(code, 'Cannot reach Redis'))
        const end = bench.open()
        end.hello()
        await settle()
        assert.equal(end.closed?.code, 1013)
      }
    }),

    'what a worker reports is known, and outlives the memory of the relay': onHub(async (bench) => {
      const end = await bench.join({ models: ['1'.repeat(64), '2'.repeat(64)] })
      const relay = clientOver(Relay, { transport: { send: end.peer.send, codec: 'msgpack', close() {} } })
      const memory = { usedBytes: 7, budgetBytes: 8 }
      await relay.report({ models: ['2'.repeat(64), '3'.repeat(64)], share: 0.5, memory })
      const [state] = bench.hub.workers()
      assert.deepEqual([state?.models, state?.share, state?.memory], [['2'.repeat(64), '3'.repeat(64)], 0.5, memory])
      // However many there are, they fit what a socket may carry.
      const many = Array.from({ length: LIMITS.maxLoadedModels }, (_, i) => String(i).padStart(64, '0'))
      await relay.report({ models: many, share: 0.5, memory })
      assert.lengthOf(bench.hub.workers()[0]?.models ?? [], many.length)
      const attachment = end.saved.at(-1)
      if (!attachment) throw new Error('nothing was saved')
      assert.isBelow(JSON.stringify(attachment).length, LIMITS.maxAttachmentBytes)
      end.vanish()
      bench.restore(attachment)
      const [again] = bench.hub.workers()
      assert.deepEqual([again?.models.at(-1), again?.share], [many.at(-1), 0.5])
    }),

    'who was not welcomed reports nothing': onHub(async (bench) => {
      const end = bench.open()
      const relay = clientOver(Relay, { transport: { send: end.peer.send, codec: 'msgpack', close() {} } })
      const report = relay.report({ models: [], share: 1, memory: { usedBytes: 0, budgetBytes: 0 } })
      assert.equal(await report.then(() => 'taken', (error) => error.code), 'failed_precondition')
    }),
  },
}
