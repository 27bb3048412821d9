import { type Clock, sleep } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { Log } from '../base/log.ts'
import { fullJitterMs, newId, type Random } from '../base/random.ts'
import { type Hello, type Welcome, welcome } from '../contracts/worker.ts'
import type { Engine } from '../engine/engine.ts'
import type { ControlFrame } from '../rpc/peer.ts'
import { type SocketLike, type SocketPeer, socketPeer } from '../rpc/transports/websocket.ts'
import { RpcError } from '../wire/errors.ts'
import type { ModelSource } from './model_source.ts'
import { serveRuns } from './serve_runs.ts'

export interface AgentDeps {
  name: string
  engine: Engine
  models: ModelSource
  /** Gets a fresh enrolment token and opens a socket to the relay it names. */
  enrol(): Promise<{ token: string; socket: SocketLike }>
  clock: Clock
  random: Random
  log: Log
  onState?(state: AgentState): void
}

export type AgentState =
  | { phase: 'connecting' }
  | { phase: 'serving'; worker: string; relay: string }
  | { phase: 'waiting'; reason: string; retryInMs: number }
  | { phase: 'stopped'; reason: string }

/** Pings unanswered before the socket counts as dead. */
const MAX_MISSED_PONGS = 2

/** Keeps one worker joined: enrols, serves, pings, and comes back with full jitter whenever the link is lost. */
export class Agent {
  readonly #deps: AgentDeps
  readonly #runs: ReturnType<typeof serveRuns>
  readonly #stop = new AbortController()
  readonly #incarnation = newId('life')
  #session: SocketPeer | undefined
  /** Resolves when the agent has stopped for good. */
  readonly done: Promise<void>

  constructor(deps: AgentDeps) {
    this.#deps = deps
    this.#runs = serveRuns(deps.engine, deps.models, deps.clock)
    this.done = this.#loop()
  }

  /** Says goodbye, lets runs in flight finish (for at most `drainMs`), and stops. */
  async drain(drainMs: number = DEFAULTS.drainMs): Promise<void> {
    this.#stop.abort(new RpcError('canceled', 'the worker is stopping'))
    try {
      this.#session?.peer.control('goodbye', { reason: 'draining' })
    } catch {
      // The socket is gone already; there is nobody to say goodbye to.
    }
    const limit = new AbortController()
    await Promise.race([this.done, sleep(this.#deps.clock, drainMs, limit.signal).catch(() => {})])
    limit.abort()
    this.#session?.close(1000, 'goodbye')
    await this.done
  }

  async #loop(): Promise<void> {
    const { clock, random, log, onState } = this.#deps
    for (let failures = 0; !this.#stop.signal.aborted;) {
      onState?.({ phase: 'connecting' })
      let reason: string
      try {
        const { token, socket } = await this.#deps.enrol()
        if (this.#stop.signal.aborted) {
          socket.close(1000)
          break
        }
        reason = await this.#serve(token, socket, () => failures = 0)
      } catch (thrown) {
        const error = RpcError.from(thrown)
        reason = error.message
        if (error.code === 'unauthenticated' || error.code === 'permission_denied') {
          log('error', 'enrolment refused', { reason })
          onState?.({ phase: 'stopped', reason })
          return
        }
      }
      if (this.#stop.signal.aborted) break
      const retryInMs = fullJitterMs(
        failures++,
        { baseMs: DEFAULTS.reconnectBaseMs, capMs: DEFAULTS.reconnectCapMs },
        random,
      )
      log('warn', 'link lost', { reason, retryInMs: Math.round(retryInMs) })
      onState?.({ phase: 'waiting', reason, retryInMs })
      await sleep(clock, retryInMs, this.#stop.signal).catch(() => {})
    }
    onState?.({ phase: 'stopped', reason: 'asked to stop' })
  }

  /** Serves on one socket until it closes. @returns why it closed */
  async #serve(token: string, socket: SocketLike, onWelcome: () => void): Promise<string> {
    let missed = 0
    let cancelPing = () => {}
    const session = socketPeer(socket, {
      serve: this.#runs.send,
      clock: this.#deps.clock,
      onPong: () => missed = 0,
      onControl: (frame) => {
        const accepted = readWelcome(frame)
        if (!accepted) return
        onWelcome()
        ping(accepted.pingIntervalMs)
        this.#deps.onState?.({ phase: 'serving', worker: accepted.worker, relay: accepted.relay })
      },
    })
    const ping = (intervalMs: number) => {
      cancelPing = this.#deps.clock.after(intervalMs, () => {
        if (missed++ >= MAX_MISSED_PONGS) return session.close(4000, 'no answer to pings')
        session.ping()
        ping(intervalMs)
      })
    }
    this.#session = session
    const sayHello = () => session.peer.control('hello', this.#hello(token))
    if (socket.readyState === 1) sayHello()
    else socket.addEventListener('open', sayHello)
    const { code, reason } = await session.closed
    cancelPing()
    this.#session = undefined
    return `the socket closed (${code}${reason ? ` ${reason}` : ''})`
  }

  #hello(token: string): Hello {
    const { name, engine } = this.#deps
    return { token, name, incarnation: this.#incarnation, info: engine.info, models: this.#runs.loaded() }
  }
}

function readWelcome(frame: ControlFrame): Welcome | undefined {
  return frame.type === 'welcome' ? welcome.parse(frame.header) : undefined
}
