import { assert } from 'chai'
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
import { settle, VirtualTime } from '../virtual_time.ts'
import { RowEngine } from './row_engine_held.ts'
import { connect, PairSocket } from './socket_pair.ts'

export const MODEL = 'a'.repeat(64)

/** What a relay may be to an agent that knocks. */
type Reception = (socket: PairSocket) => void

/** An agent with a real relay on the other end of its sockets. */
export class AgentBench {
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

export function onAgent(run: (bench: AgentBench) => Promise<void>): () => Promise<void> {
  return async () => {
    const bench = new AgentBench()
    await run(bench)
    await bench.close()
  }
}

export const unreachable = () =>
  Promise.reject(new RpcError('unavailable', 'Cannot enrol: the gateway does not answer'))

/** Reads the frames that an agent sends. */
export function reader(socket: PairSocket, onFrame: (type: string, header: Record<string, unknown>) => void): void {
  const frames = new FrameReader()
  socket.onSend = (data) => {
    if (typeof data === 'string') return onFrame(data, {})
    const frame = frames.read(data)
    if (frame) onFrame(frame.type, frame.header as Record<string, unknown>)
  }
}

export function sendControl(socket: PairSocket, type: 'welcome' | 'goodbye', header: Record<string, unknown>): void {
  for (const message of encodeFrame({ type, id: 0, header, parts: [] })) socket.deliver(message)
}
