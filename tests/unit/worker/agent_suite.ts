import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { silentLog } from '../../../shared/base/log.ts'
import { Metrics } from '../../../shared/base/metrics.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { Pool } from '../../../shared/contracts/pool.ts'
import { Hub } from '../../../shared/relay/hub.ts'
import type { Session } from '../../../shared/relay/session.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import { encodeFrame, FrameReader } from '../../../shared/wire/frame.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { Agent, type AgentState } from '../../../shared/worker/agent.ts'
import type { Suite } from '../../suite.ts'
import { exactly, runRowwise } from '../pool/row_engine.ts'
import { settle, VirtualTime } from '../virtual_time.ts'
import { RowEngine } from './row_engine_held.ts'
import { connect, PairSocket } from './socket_pair.ts'

const MODEL = 'a'.repeat(64)
const { joinTimeoutMs, pingIntervalMs, reconnectBaseMs, reconnectCapMs, drainMs } = DEFAULTS

/** What a relay may be to an agent that knocks. */
type Reception = (socket: PairSocket) => void

/** An agent with a real relay on the other end of its sockets. */
class AgentBench {
  readonly clock = new VirtualTime(1_000_000)
  readonly engine = new RowEngine()
  readonly states: AgentState[] = []
  readonly sockets: PairSocket[] = []
  readonly sessions: Session[] = []
  readonly hub: Hub
  /** What happens to an enrolment. By default: a socket to the hub. */
  enrol: (signal: AbortSignal) => Promise<{ token: string; socket: PairSocket }> = () => this.knock(this.welcome)
  #agent: Agent | undefined

  constructor() {
    const deps = { clock: this.clock, metrics: new Metrics(), log: silentLog, random: seededRandom(1) }
    const admit = (token: string) =>
      token === 'good' ? Promise.resolve({ volunteer: false }) : Promise.reject(new Error(token))
    this.hub = new Hub({ ...deps, name: 'relay-1', admit })
  }

  readonly welcome: Reception = (socket) => {
    const session = connect(socket, this.hub)
    if (session) this.sessions.push(session)
  }

  /** A socket that meets a reception one microtask later. */
  knock(reception: Reception, token = 'good'): Promise<{ token: string; socket: PairSocket }> {
    const socket = new PairSocket()
    this.sockets.push(socket)
    queueMicrotask(() => reception(socket))
    return Promise.resolve({ token, socket })
  }

  start(seed = 1): Agent {
    return this.#agent = new Agent({
      name: 'tab',
      engine: this.engine,
      models: { get: () => Promise.resolve(new Uint8Array(4)) },
      enrol: (signal) => this.enrol(signal),
      clock: this.clock,
      random: seededRandom(seed),
      log: silentLog,
      onState: (state) => this.states.push(state),
    })
  }

  /** Starts an agent that the relay welcomes. */
  async join(): Promise<Agent> {
    const agent = this.start()
    await settle(100)
    assert.equal(this.phase, 'serving')
    return agent
  }

  get phase(): string | undefined {
    return this.states.at(-1)?.phase
  }

  phases(phase: AgentState['phase']): AgentState[] {
    return this.states.filter((state) => state.phase === phase)
  }

  get retriesMs(): number[] {
    return this.states.flatMap((state) => state.phase === 'waiting' ? [state.retryInMs] : [])
  }

  infer(value: number, timeoutMs = 1e6) {
    const transport = { send: this.hub.send, codec: 'tensors' as const, close() {} }
    return clientOver(Pool, { transport, clock: this.clock }).run({
      model: { sha256: MODEL, batchable: true },
      inputs: { x: Tensor.from('float32', [1], [value]) },
    }, { timeoutMs })
  }

  async close(): Promise<void> {
    this.hub.close()
    const stopped = this.#agent?.drain(0)
    await this.clock.advance(0)
    await stopped
    await settle(100)
    assert.equal(this.phase, 'stopped')
    assert.equal(this.#agent?.serving, 0, 'calls served')
    for (const session of this.sessions) assert.equal(session.inFlight, 0, 'calls in flight')
    for (const [i, socket] of this.sockets.entries()) assert.isAtLeast(socket.readyState, 2, `socket ${i} is left open`)
    assert.equal(this.clock.pending, 0, 'timers')
  }
}

function onAgent(run: (bench: AgentBench) => Promise<void>): () => Promise<void> {
  return async () => {
    const bench = new AgentBench()
    await run(bench)
    await bench.close()
  }
}

const unreachable = () => Promise.reject(new RpcError('unavailable', 'Cannot enrol: the gateway does not answer'))

/** Reads the frames that an agent sends. */
function reader(socket: PairSocket, onFrame: (type: string, header: Record<string, unknown>) => void): void {
  const frames = new FrameReader()
  socket.onSend = (data) => {
    if (typeof data === 'string') return onFrame(data, {})
    const frame = frames.read(data)
    if (frame) onFrame(frame.type, frame.header as Record<string, unknown>)
  }
}

function sendControl(socket: PairSocket, type: 'welcome' | 'goodbye', header: Record<string, unknown>): void {
  for (const message of encodeFrame({ type, id: 0, header, parts: [] })) socket.deliver(message)
}

export const agentSuite: Suite = {
  name: 'worker: agent',
  cases: {
    'it joins and serves, exactly': onAgent(async (bench) => {
      await bench.join()
      assert.deepEqual(bench.states.map(({ phase }) => phase), ['connecting', 'serving'])
      const [{ id, name, device } = { id: '', name: '', device: '' }] = bench.hub.workers()
      assert.deepEqual(bench.states[1], { phase: 'serving', worker: id, relay: 'relay-1' })
      assert.deepEqual([name, device], ['tab', 'wasm'])
      const { outputs } = await bench.infer(1.5)
      assert.deepEqual(exactly(outputs), exactly(runRowwise({ x: Tensor.from('float32', [1], [1.5]) })))
    }),

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

    'a relay that never says welcome, a socket that never opens, an enrolment that hangs: each is given up':
      async () => {
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
  },
}
