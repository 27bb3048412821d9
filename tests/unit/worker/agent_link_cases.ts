import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { silentLog } from '../../../shared/base/log.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { Agent } from '../../../shared/worker/agent.ts'
import type { Suite } from '../../suite.ts'
import { exactly, runRowwise } from '../pool/row_engine.ts'
import { settle, VirtualTime } from '../virtual_time.ts'
import { RowEngine } from './row_engine_held.ts'
import { AgentBench, MODEL, onAgent, reader, sendControl, unreachable } from './agent_bench.ts'

const { pingIntervalMs, reconnectBaseMs, reconnectCapMs } = DEFAULTS

/** A link that carries calls, breaks, and is taken up again. */
export const linkCases: Suite['cases'] = {
  'calls at once are joined on the way and come back each to its caller': onAgent(async (bench) => {
    await bench.join()
    await bench.infer(0)
    const gate = Promise.withResolvers<void>()
    bench.engine.gate = gate.promise
    const calls = Array.from({ length: 20 }, (_, i) => bench.infer(i))
    await settle(200)
    gate.resolve()
    for (const [i, { outputs }] of (await Promise.all(calls)).entries()) {
      assert.deepEqual(exactly(outputs), exactly(runRowwise({ x: Tensor.from('float32', [1], [i]) })))
    }
    // One computes, one is prefetched, and eighteen share a run padded to 32.
    assert.deepEqual(bench.engine.runs, [1, 1, 1, 32])
  }),

  'a lost link is taken up again, as the same life with its models': onAgent(async (bench) => {
    await bench.join()
    await bench.infer(1)
    const first = bench.hub.workers()[0]
    bench.sockets[0]?.end(1006, '')
    bench.sessions[0]?.end('line lost')
    await bench.clock.advance(reconnectBaseMs)
    const again = bench.hub.workers()[0]
    assert.equal(bench.phase, 'serving')
    assert.notEqual(again?.id, first?.id)
    assert.deepEqual(again?.models, [MODEL])
    await bench.infer(2)
    assert.equal(bench.engine.loads.length, 1)
  }),

  'it comes back with full jitter: anywhere from 0 to 250 ms · 2ⁿ, ten seconds at most (seeded)': async () => {
    const byAttempt: number[][] = []
    for (let seed = 1; seed <= 20; seed++) {
      const bench = new AgentBench()
      bench.enrol = unreachable
      bench.start(seed)
      while (bench.retriesMs.length < 10) await bench.clock.advance(reconnectCapMs)
      for (const [i, ms] of bench.retriesMs.slice(0, 10).entries()) (byAttempt[i] ??= []).push(ms)
      await bench.close()
    }
    for (const [i, delays] of byAttempt.entries()) {
      const boundMs = Math.min(reconnectCapMs, reconnectBaseMs * 2 ** i)
      assert.isTrue(delays.every((ms) => ms >= 0 && ms <= boundMs), `attempt ${i}`)
      // Of twenty uniform draws the mean lies within 4 standard errors, 0.26, of a half.
      const mean = delays.reduce((sum, ms) => sum + ms, 0) / delays.length
      assert.closeTo(mean / boundMs, 0.5, 0.26, `attempt ${i}`)
    }
  },

  'three hundred that lose their relay at once come back evenly': async () => {
    const clock = new VirtualTime(1_000_000)
    const lostAtMs = clock.now()
    const knocks: number[] = []
    const agents = Array.from({ length: 300 }, (_, i) =>
      new Agent({
        name: 'tab',
        engine: new RowEngine(),
        models: { get: () => Promise.resolve(new Uint8Array(0)) },
        enrol: () => {
          knocks.push(clock.now() - lostAtMs)
          return unreachable()
        },
        clock,
        random: seededRandom(i),
        log: silentLog,
      }))
    await settle()
    assert.equal(knocks.length, 300)
    for (let i = 0; i < 5; i++) await clock.advance(reconnectBaseMs / 5)
    // The first comeback of each is uniform in 250 ms; some have their second already. Peak over mean at most 2.
    const counts = new Array(5).fill(0)
    for (const ms of knocks.slice(300)) counts[Math.min(4, Math.floor(5 * ms / reconnectBaseMs))]++
    const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length
    assert.isAtMost(Math.max(...counts) / mean, 2)
    await Promise.all(agents.map((agent) => agent.drain(0)))
    assert.equal(clock.pending, 0)
  },

  'only a link that lasted ends the back-off: a relay that welcomes and drops is not stormed': onAgent(
    async (bench) => {
      bench.enrol = () =>
        bench.knock((socket) => {
          reader(socket, (type) => {
            if (type !== 'hello') return
            sendControl(socket, 'welcome', { worker: 'w', relay: 'r', pingIntervalMs })
            socket.end(1001, 'the relay is stopping')
          })
          socket.open()
        })
      bench.start()
      await bench.clock.advance(120_000)
      assert.isAtMost(bench.sockets.length, 40)
      assert.isAbove(bench.retriesMs.at(-1) ?? 0, reconnectBaseMs)
      // One that lasts.
      bench.enrol = () => bench.knock(bench.welcome)
      await bench.clock.advance(60_000)
      assert.equal(bench.phase, 'serving')
      bench.hub.close()
      await settle(100)
      assert.isAtMost(bench.retriesMs.at(-1) ?? Infinity, reconnectBaseMs)
    },
  ),

  'a gateway that asks for a pause gets it, and chance on top': onAgent(async (bench) => {
    bench.enrol = () => Promise.reject(new RpcError('resource_exhausted', 'Cannot enrol', { retryAfterMs: 7_000 }))
    bench.start()
    await bench.clock.advance(20_000)
    for (const ms of bench.retriesMs) assert.isAtLeast(ms, 7_000)
    assert.equal(bench.retriesMs.length, 3)
  }),

  'pings go out while it serves; answers, or anything else, keep the link': onAgent(async (bench) => {
    let pings = 0
    let answer = 'pong'
    bench.enrol = () =>
      bench.knock((socket) => {
        reader(socket, (type) => {
          if (type === 'hello') sendControl(socket, 'welcome', { worker: 'w', relay: 'r', pingIntervalMs: 1_000 })
          if (type !== 'ping') return
          pings++
          if (answer === 'pong') socket.deliver('pong')
          else sendControl(socket, 'goodbye', {})
        })
        socket.open()
      })
    bench.start()
    await bench.clock.advance(10_000)
    assert.equal(pings, 10)
    answer = 'other'
    await bench.clock.advance(10_000)
    assert.equal(pings, 20)
    assert.equal(bench.sockets.length, 1)
  }),

  'a line that is cut is noticed after two pings, even if its close never ends': onAgent(async (bench) => {
    await bench.join()
    const gate = Promise.withResolvers<void>()
    bench.engine.gate = gate.promise
    const calls = [1, 2].map((value) => bench.infer(value))
    await settle(100)
    const [socket] = bench.sockets
    if (socket) socket.cut = true
    await bench.clock.advance(2.5 * pingIntervalMs - 1)
    assert.equal(bench.phase, 'serving')
    await bench.clock.advance(1)
    assert.equal(bench.phase, 'waiting')
    assert.include((bench.states.at(-1) as { reason: string }).reason, 'no answer to pings')
    await bench.clock.advance(reconnectBaseMs)
    assert.equal(bench.phase, 'serving')
    assert.equal(bench.hub.workers().length, 1, 'the new socket has taken the place of the old')
    gate.resolve()
    await Promise.all(calls)
    // What had begun on the old link went on; what waited there was dropped. Both were asked for again on the new one.
    assert.deepEqual(bench.engine.runs.length, 3)
  }),

  'what it was computing when the link broke is given up, and the next link serves': onAgent(async (bench) => {
    await bench.join()
    const gate = Promise.withResolvers<void>()
    bench.engine.gate = gate.promise
    const call = bench.infer(1)
    await settle(100)
    assert.equal(bench.engine.running, 1)
    bench.sockets[0]?.end(1006, '')
    bench.sessions[0]?.end('line lost')
    assert.equal(await call.then(() => 'ok', (error) => error.code), 'unavailable')
    await bench.clock.advance(reconnectBaseMs)
    const next = bench.infer(2)
    gate.resolve()
    await settle(200)
    assert.deepEqual(exactly((await next).outputs), exactly(runRowwise({ x: Tensor.from('float32', [1], [2]) })))
  }),
}
