import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { Relay } from '../../../shared/contracts/worker.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import { encodeFrame } from '../../../shared/wire/frame.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { settle } from '../virtual_time.ts'
import { onHub, outcome } from './worker_end.ts'

const { pingIntervalMs } = DEFAULTS

/** Calls, and what is known of those who answer them. */
export const callCases: Suite['cases'] = {
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

  'who computes a model wrong is given none of its calls, nor after a sleep': onHub(async (bench) => {
    const model = '5'.repeat(64)
    const liar = await bench.join({ name: 'liar', models: [model] })
    liar.compute = () => ({ x: Tensor.from('float32', [1], [-1]) })
    await bench.join()
    await bench.join()
    const answerAll = async () => {
      for (let i = 0; i < 10; i++) {
        for (const { runs } of bench.ends) for (const run of runs.splice(0)) run.answer()
        await settle()
      }
    }
    const refused = () => bench.hub.workers().find(({ name }) => name === 'liar')?.refused
    // It is given the calls, since it has the model loaded: who checks it has to load it first.
    for (const value of [1, 2]) {
      const call = bench.infer(value, { deterministic: true })
      await answerAll()
      assert.equal(await call, -1)
    }
    const [barred] = refused() ?? []
    assert.match(barred?.reason ?? '', /^computes it wrong: output "x" must be 2 at 0, got -1$/)
    const attachment = liar.saved.at(-1)
    assert.deepEqual(attachment?.barred, { [model]: 'output "x" must be 2 at 0, got -1' })
    if (!attachment) return
    liar.vanish()
    const restored = bench.restore(attachment)
    assert.deepEqual(refused(), [barred])
    const call = bench.infer(3, { deterministic: true })
    await answerAll()
    assert.equal(await call, 3)
    assert.lengthOf(restored.runs, 0)
  }, 1),

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
}
