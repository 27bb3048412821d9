import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { encodeFrame } from '../../../shared/wire/frame.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { settle } from '../virtual_time.ts'
import { onHub, type WorkerEnd } from './worker_end.ts'

const { helloTimeoutMs } = DEFAULTS

/** Who is let in, and what closes a socket. */
export const admissionCases: Suite['cases'] = {
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
    const hashes = Array.from({ length: LIMITS.maxBarredModels }, (_, i) => String(i).padStart(64, '0'))
    const models = Array.from({ length: LIMITS.maxAttachedModels }, (_, i) => String(i).padStart(64, 'f'))
    const attachment = {
      ...end.saved[0],
      report: { ...end.saved[0]?.report, models },
      barred: Object.fromEntries(hashes.map((hash) => [hash, wide(120)])),
    }
    const bytes = new TextEncoder().encode(JSON.stringify(attachment)).byteLength
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

  'a store that is away closes with 1013: the worker may come again': onHub(async (bench) => {
    for (const code of ['unavailable', 'deadline_exceeded'] as const) {
      bench.admit = () => Promise.reject(new RpcError(code, 'Cannot reach Redis'))
      const end = bench.open()
      end.hello()
      await settle()
      assert.equal(end.closed?.code, 1013)
    }
  }),
}
