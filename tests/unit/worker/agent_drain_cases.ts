import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import type { Suite } from '../../suite.ts'
import { settle } from '../virtual_time.ts'
import { PairSocket } from './socket_pair.ts'
import { AgentBench, onAgent, reader, unreachable } from './agent_bench.ts'

const { drainMs } = DEFAULTS

/** How it stops. */
export const drainCases: Suite['cases'] = {
  'draining says goodbye, lets runs finish, and stops': onAgent(async (bench) => {
    const agent = await bench.join()
    const gate = Promise.withResolvers<void>()
    bench.engine.gate = gate.promise
    const call = bench.infer(3)
    await settle(100)
    let stopped = false
    const drained = agent.drain().then(() => stopped = true)
    await settle(100)
    assert.isTrue(bench.hub.workers()[0]?.draining)
    assert.equal(await bench.infer(4).then(() => 'ok', (error) => error.code), 'unavailable')
    assert.isFalse(stopped)
    gate.resolve()
    assert.isDefined((await call).outputs.x_out)
    await drained
    assert.deepEqual(bench.states.at(-1), { phase: 'stopped', reason: 'asked to stop' })
    assert.deepEqual(bench.hub.workers(), [])
    assert.equal(bench.sockets.length, 1)
  }),

  'draining has a limit': onAgent(async (bench) => {
    const agent = await bench.join()
    const gate = Promise.withResolvers<void>()
    bench.engine.gate = gate.promise
    const call = bench.infer(1).then(() => 'ok', (error) => error.code)
    await settle(100)
    const drained = agent.drain(2_000)
    await bench.clock.advance(1_999)
    assert.equal(bench.sockets[0]?.readyState, 1)
    await bench.clock.advance(1)
    await drained
    assert.equal(await call, 'unavailable')
    gate.resolve()
  }),

  'draining a line that is cut ends with the limit': onAgent(async (bench) => {
    const agent = await bench.join()
    for (const socket of bench.sockets) socket.cut = true
    const drained = agent.drain()
    await bench.clock.advance(drainMs)
    await drained
  }),

  'stopped while it enrols, connects, greets or waits, it is done at once': async () => {
    const frames: string[] = []
    const moments: Record<string, (bench: AgentBench) => Promise<{ token: string; socket: PairSocket }>> = {
      enrols: () => new Promise(() => {}),
      connects: (bench) => bench.knock(() => {}),
      greets: (bench) =>
        bench.knock((socket) => {
          reader(socket, (type) => frames.push(type))
          socket.open()
        }),
      waits: unreachable,
    }
    for (const [what, enrol] of Object.entries(moments)) {
      const bench = new AgentBench()
      bench.enrol = () => enrol(bench)
      const agent = bench.start()
      await settle(100)
      assert.equal(bench.phase, what === 'waits' ? 'waiting' : 'connecting', what)
      await Promise.all([agent.drain(), agent.drain()])
      assert.deepEqual(bench.states.at(-1), { phase: 'stopped', reason: 'asked to stop' }, what)
      await bench.close()
    }
    assert.deepEqual(frames, ['hello'], 'who was never welcomed says no goodbye')
  },

  'stopped before it began, it never knocks': onAgent(async (bench) => {
    bench.enrol = () => new Promise(() => {})
    await bench.start().drain()
    assert.equal(bench.sockets.length, 0)
  }),
}
