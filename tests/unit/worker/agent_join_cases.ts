import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { exactly, runRowwise } from '../pool/row_engine.ts'
import { settle } from '../virtual_time.ts'
import { PairSocket } from './socket_pair.ts'
import { AgentBench, onAgent, reader, sendControl } from './agent_bench.ts'

const { joinTimeoutMs, reconnectBaseMs } = DEFAULTS

/** From its enrolment to its welcome. */
export const joinCases: Suite['cases'] = {
  'it joins and serves, exactly': onAgent(async (bench) => {
    await bench.join()
    assert.deepEqual(bench.states.map(({ phase }) => phase), ['connecting', 'serving'])
    const [{ id, name, device } = { id: '', name: '', device: '' }] = bench.hub.workers()
    assert.deepEqual(bench.states[1], { phase: 'serving', worker: id, relay: 'relay-1' })
    assert.deepEqual([name, device], ['tab', 'wasm'])
    const { outputs } = await bench.infer(1.5)
    assert.deepEqual(exactly(outputs), exactly(runRowwise({ x: Tensor.from('float32', [1], [1.5]) })))
  }),

  'a refused enrolment is final': async () => {
    for (const code of ['unauthenticated', 'permission_denied'] as const) {
      const bench = new AgentBench()
      bench.enrol = () => Promise.reject(new RpcError(code, 'Cannot enrol: no such key'))
      await bench.start().done
      assert.deepEqual(bench.states.at(-1), { phase: 'stopped', reason: 'Cannot enrol: no such key' })
      assert.equal(bench.clock.pending, 0)
      await bench.close()
    }
  },

  'a token that the relay refuses is not: the next one may do': onAgent(async (bench) => {
    bench.enrol = () => bench.knock(bench.welcome, bench.sockets.length < 2 ? 'used' : 'good')
    bench.start()
    await bench.clock.advance(5_000)
    assert.equal(bench.phase, 'serving')
    assert.equal(bench.sockets.length, 3)
  }),

  'a relay that never says welcome, a socket that never opens, an enrolment that hangs: each is given up': async () => {
    const hangs: Record<string, (bench: AgentBench) => Promise<{ token: string; socket: PairSocket }>> = {
      'no welcome': (bench) => bench.knock((socket) => socket.open()),
      'no open': (bench) => bench.knock(() => {}),
      'no open, and a close that never ends': (bench) => bench.knock((socket) => socket.cut = true),
      'no token': () => new Promise(() => {}),
    }
    for (const [what, hang] of Object.entries(hangs)) {
      const bench = new AgentBench()
      bench.enrol = () => hang(bench)
      bench.start()
      await bench.clock.advance(joinTimeoutMs - 1)
      assert.deepEqual(bench.states.map(({ phase }) => phase), ['connecting'], what)
      bench.enrol = () => bench.knock(bench.welcome)
      await bench.clock.advance(1)
      assert.equal(bench.phase, 'waiting', what)
      await bench.clock.advance(reconnectBaseMs)
      assert.equal(bench.phase, 'serving', what)
      await bench.close()
    }
  },

  'an enrolment that comes after it was given up is closed unused': onAgent(async (bench) => {
    const late = Promise.withResolvers<{ token: string; socket: PairSocket }>()
    let told: AbortSignal | undefined
    bench.enrol = (signal) => {
      told = signal
      return late.promise
    }
    bench.start()
    await bench.clock.advance(joinTimeoutMs)
    assert.isTrue(told?.aborted)
    late.resolve(await bench.knock((socket) => socket.open()))
    await settle()
    assert.equal(bench.sockets[0]?.closedWith?.code, 1000)
  }),

  'a malformed welcome is no welcome': onAgent(async (bench) => {
    bench.enrol = () =>
      bench.knock((socket) => {
        reader(socket, () => sendControl(socket, 'welcome', { worker: 5 }))
        socket.open()
      })
    bench.start()
    await settle(100)
    assert.equal(bench.phase, 'waiting')
    assert.isAtLeast(bench.sockets[0]?.closedWith?.code ?? 0, 1000)
  }),

  'a second welcome changes nothing': onAgent(async (bench) => {
    let pings = 0
    bench.enrol = () =>
      bench.knock((socket) => {
        const accepted = { worker: 'w', relay: 'r', pingIntervalMs: 1_000 }
        reader(socket, (type) => {
          if (type === 'ping') pings++
          if (type === 'hello') { for (let i = 0; i < 3; i++) sendControl(socket, 'welcome', accepted) }
        })
        socket.open()
      })
    bench.start()
    await bench.clock.advance(1_000)
    assert.equal(pings, 1)
    assert.equal(bench.phases('serving').length, 1)
  }),

  'a driver that boasts does not keep its worker out': onAgent(async (bench) => {
    const boast = 'x'.repeat(5_000)
    bench.engine.info = { ...bench.engine.info, build: boast, adapter: boast, reason: boast }
    await bench.join()
    assert.equal(bench.hub.workers()[0]?.adapter.length, 200)
  }),

  'a socket that fails on hello is given up': onAgent(async (bench) => {
    bench.enrol = () =>
      bench.knock((socket) => {
        socket.send = () => {
          throw new DOMException('broken', 'InvalidStateError')
        }
        socket.open()
      })
    bench.start()
    await settle(100)
    assert.equal(bench.phase, 'waiting')
  }),
}
