import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FakeClock, systemClock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import type { Engine } from '../../../shared/engine/engine.ts'
import { type LinkedEngine, linkEngine, type LinkOptions } from '../../../shared/engine/engine_link.ts'
import { engineClient, serveEngine } from '../../../shared/engine/engine_service.ts'
import type { Thread } from '../../../shared/engine/engine_thread.ts'
import { openEngine } from '../../../shared/engine/open_engine.ts'
import { describeHost, loadOrtNode } from '../../../shared/engine/ort_node.ts'
import { spawnEngineThread } from '../../../shared/engine/spawn_node.ts'
import { messagePortTransport } from '../../../shared/rpc/transports/message_port.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { identityModel } from '../../fixtures/models.ts'

const THREAD = new URL('../../../functions/worker/engine_thread.ts', import.meta.url)
const model = identityModel('float32', ['N'])
const x = Tensor.from('float32', [2], [1, 2])
const unavailable = (message: RegExp) => ({ code: 'unavailable', message: expect.stringMatching(message) })

const opened: Engine[] = []
afterEach(() => Promise.all(opened.splice(0).map((engine) => engine.close())))
const link = async (options: LinkOptions): Promise<LinkedEngine> => {
  const engine = await linkEngine(options)
  opened.push(engine)
  return engine
}

describe('an engine in a worker thread', () => {
  it('is replaced when its thread ends, and says that its models are gone', async () => {
    const threads: Thread[] = []
    const reasons: unknown[] = []
    const engine = await link({
      log: (_level, _message, fields) => reasons.push(fields?.reason),
      spawn: async () => {
        const thread = await spawnEngineThread(THREAD, 'wasm')
        threads.push(thread)
        return thread
      },
    })
    const restarted = new Promise((resolve) => engine.onRestart(resolve))
    await engine.load('model', model)
    // From outside the link, as a crash would.
    await threads[0]?.terminate()
    expect(await restarted).toEqual(engine.info)
    expect(threads).toHaveLength(2)
    expect(reasons[0]).toMatch(/^its thread ended: exit code/)
    await expect(engine.run('model', { x })).rejects.toMatchObject({ code: 'not_found' })
    await engine.load('model', model)
    expect((await engine.run('model', { x })).outputs.y?.data).toEqual(x.data)
  })

  it('tells why it cannot start', async () => {
    const spawn = () => spawnEngineThread(THREAD, 'webgpu')
    await expect(linkEngine({ spawn })).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringMatching(/this host has no WebGPU/),
    })
  })

  it('tells when its script cannot be loaded', async () => {
    const spawn = () => spawnEngineThread(new URL('no_such_file.ts', THREAD), 'wasm')
    await expect(linkEngine({ spawn })).rejects.toMatchObject(unavailable(/its thread ended: .*no_such_file/))
  })

  it('refuses more of a model than it was said to have, and models larger than any may be', async () => {
    const thread = await spawnEngineThread(THREAD, 'wasm')
    const transport = messagePortTransport(thread.port)
    const engine = engineClient(transport, systemClock)
    const bytes = new Tensor('uint8', [1000], new Uint8Array(1000))
    for (let i = 0; i < 4; i++) await engine.append({ key: 'large', bytes, total: 4000 })
    const more = Tensor.from('uint8', [1], [0])
    await expect(engine.append({ key: 'large', bytes: more, total: 4000 })).rejects.toMatchObject({
      code: 'resource_exhausted',
    })
    await expect(engine.append({ key: 'larger', bytes: more, total: LIMITS.maxBundleBytes + 1 })).rejects.toMatchObject(
      {
        code: 'invalid_argument',
      },
    )
    transport.close()
    await thread.terminate()
  })
})

describe('a link', () => {
  let clock: FakeClock
  beforeEach(() => {
    clock = new FakeClock()
  })
  const info = { device: 'wasm', build: 'jspi', adapter: 'test', fallbackAdapter: false, fp16: true } as const

  /** The link's other side without a thread: `engine` served over a real channel in this one. */
  function localThread(engine: Partial<Engine> & { lost?: Promise<string> }): Thread & { terminated: boolean } {
    const { port1, port2 } = new MessageChannel()
    const whole = { info: { ...info, reason: 'Tested.' }, lost: new Promise<string>(() => {}), ...engine } as never
    serveEngine(Promise.resolve(whole), port2)
    const thread = {
      port: port1,
      exited: new Promise<string>(() => {}),
      terminated: false,
      terminate() {
        thread.terminated = true
        port2.close()
      },
    }
    return thread
  }
  const local = () => openEngine({ wish: 'wasm', gpu: undefined, host: describeHost(), loadOrt: loadOrtNode })

  it('replaces an engine that tells of its loss', async () => {
    const lost = Promise.withResolvers<string>()
    const threads: ReturnType<typeof localThread>[] = []
    const engine = await link({
      clock,
      random: () => 0.5,
      spawn: async () => {
        const real = await local()
        const thread = localThread({ ...bound(real), lost: threads.length === 0 ? lost.promise : real.lost })
        threads.push(thread)
        return thread
      },
    })
    let restarts = 0
    const stop = engine.onRestart(() => restarts++)
    lost.resolve('the GPU device was lost')
    await clock.advance(0)
    expect(threads[0]?.terminated).toBe(true)
    await expect(engine.load('model', model)).rejects.toMatchObject(unavailable(/the GPU device was lost/))
    // Half of the first back-off.
    await clock.advance(DEFAULTS.reconnectBaseMs / 2)
    expect(restarts).toBe(1)
    await engine.load('model', model)
    expect((await engine.run('model', { x })).outputs.y?.data).toEqual(x.data)
    stop()
  })

  it('ends an engine only when nothing finishes in time, however many calls wait', async () => {
    const runs: (() => void)[] = []
    const result = { outputs: {}, timings: { waitMs: 0, runMs: 0 } }
    const thread = localThread({ run: () => new Promise((resolve) => runs.push(() => resolve(result))) })
    const engine = await link({ clock, runTimeoutMs: 100, random: () => 0.5, spawn: () => Promise.resolve(thread) })
    const calls = Promise.allSettled([1, 2, 3, 4].map(() => engine.run('model', { x })))
    for (let i = 0; i < 3; i++) {
      await clock.advance(90)
      runs[i]?.()
      await clock.advance(0)
    }
    expect(thread.terminated).toBe(false)
    await clock.advance(99)
    expect(thread.terminated).toBe(false)
    await clock.advance(1)
    expect(thread.terminated).toBe(true)
    const outcomes = await calls
    expect(outcomes.slice(0, 3).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled'])
    expect(outcomes[3]).toMatchObject({ reason: unavailable(/no run finished within 100 ms/) })
  })

  it('does not watch an idle engine', async () => {
    const thread = localThread(bound(await local()))
    const engine = await link({ clock, runTimeoutMs: 100, spawn: () => Promise.resolve(thread) })
    await engine.load('model', model)
    await clock.advance(10_000)
    expect(thread.terminated).toBe(false)
    // Longer than the longest deadline, so that the wait for a loss has been renewed.
    await clock.advance(3 * LIMITS.maxTimeoutMs)
    expect((await engine.run('model', { x })).outputs.y?.data).toEqual(x.data)
  })

  it('backs off further each time, until a run succeeds', async () => {
    const real = await local()
    const lost: PromiseWithResolvers<string>[] = []
    const engine = await link({
      clock,
      random: () => 0.5,
      spawn: () => {
        lost.push(Promise.withResolvers())
        return Promise.resolve(localThread({ ...bound(real), lost: lost.at(-1)?.promise }))
      },
    })
    const restartAfter = async () => {
      const spawned = lost.length
      lost.at(-1)?.resolve('again')
      await clock.advance(0)
      let waitedMs = 0
      for (; lost.length === spawned; waitedMs += 5) await clock.advance(5)
      return waitedMs
    }
    const waits = [await restartAfter(), await restartAfter(), await restartAfter()]
    expect(waits).toEqual([1, 2, 4].map((factor) => DEFAULTS.reconnectBaseMs * factor / 2))
    await engine.load('model', model)
    await engine.run('model', { x })
    expect(await restartAfter()).toBe(DEFAULTS.reconnectBaseMs / 2)
  })

  it('tries again when a fresh thread does not start', async () => {
    const real = await local()
    const lost = Promise.withResolvers<string>()
    let spawned = 0
    const messages: string[] = []
    const engine = await link({
      clock,
      random: () => 0.5,
      log: (_level, message) => messages.push(message),
      spawn: () => {
        spawned++
        if (spawned === 2) return Promise.reject(new Error('no thread to be had'))
        return Promise.resolve(localThread({ ...bound(real), ...(spawned === 1 && { lost: lost.promise }) }))
      },
    })
    lost.resolve('gone')
    for (let i = 0; i < 10; i++) await clock.advance(100)
    expect(spawned).toBe(3)
    expect(messages).toEqual(['engine lost', 'engine did not restart', 'engine restarted'])
    await engine.load('model', model)
  })

  it('gives up on a thread that does not answer', async () => {
    const silent = localThread({})
    silent.port = new MessageChannel().port1
    const starting = expect(linkEngine({ clock, startTimeoutMs: 1000, spawn: () => Promise.resolve(silent) }))
      .rejects.toMatchObject({ code: 'deadline_exceeded' })
    await clock.advance(1000)
    await starting
    expect(silent.terminated).toBe(true)
    expect(clock.pending).toBe(0)
  })

  it('leaves nothing behind when closed, even while it waits to restart', async () => {
    const lost = Promise.withResolvers<string>()
    let spawned = 0
    const engine = await link({
      clock,
      random: () => 0.5,
      spawn: () => {
        spawned++
        return Promise.resolve(localThread({ lost: lost.promise }))
      },
    })
    lost.resolve('gone')
    await clock.advance(0)
    expect(clock.pending).toBe(1)
    await engine.close()
    await clock.advance(DEFAULTS.reconnectCapMs)
    expect(spawned).toBe(1)
    expect(clock.pending).toBe(0)
    await expect(engine.run('model', { x })).rejects.toMatchObject({ code: 'unavailable' })
  })
})

/** An engine's members as plain properties, so that a test may replace some. */
function bound(engine: Engine): Engine {
  return {
    info: engine.info,
    load: engine.load.bind(engine),
    run: engine.run.bind(engine),
    unload: engine.unload.bind(engine),
    close: engine.close.bind(engine),
  }
}
