import { atMost, type Clock, sleep } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { fullJitterMs, newId, type Random } from '../base/random.ts'
import { type Hello, Relay, type Report, type Welcome, welcome } from '../contracts/worker.ts'
import type { Engine } from '../engine/engine.ts'
import { clientOver } from '../rpc/client.ts'
import { Deadline, untilAborted } from '../rpc/deadline.ts'
import type { ControlFrame } from '../rpc/peer.ts'
import type { Implementation } from '../rpc/server.ts'
import { type SocketLike, type SocketPeer, socketPeer } from '../rpc/transports/websocket.ts'
import { RpcError } from '../wire/errors.ts'
import type { ModelSource } from './model_source.ts'
import { serveRuns } from './serve_runs.ts'
import { largestModel } from './loads.ts'

export interface AgentDeps {
  name: string
  engine: Engine
  models: ModelSource
  /** What the worker serves beside runs of models: training, for one. */
  services?: readonly Implementation[]
  /**
   * Gets a fresh enrolment token and opens a socket to the relay it names. What comes after `signal` has aborted is
   * closed unused. Rejects with `unauthenticated` or `permission_denied` where asking again is no use.
   */
  enrol(signal: AbortSignal): Promise<{ token: string; socket: SocketLike }>
  /**
   * What loaded models may take together. Where something is said, a model that takes more by itself is never loaded; where
   * nothing is, it is DEFAULTS.workerMemoryBytes, and such a model drives all others out.
   */
  memoryBytes?: number
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
const OPEN = 1

/** Keeps one worker joined: enrols, serves, pings, and comes back with full jitter whenever the link is lost. */
export class Agent {
  readonly #deps: AgentDeps
  readonly #runs: ReturnType<typeof serveRuns>
  /** Join no more. */
  readonly #stop = new AbortController()
  /** Leave at once, whatever is in flight. */
  readonly #quit = new AbortController()
  readonly #incarnation = newId('life')
  #session: { link: SocketPeer; welcomed: boolean } | undefined
  #share = 1
  /** Resolves when the agent has stopped for good. */
  readonly done: Promise<void>

  constructor(deps: AgentDeps) {
    this.#deps = deps
    this.#runs = serveRuns({ ...deps, onChange: () => this.#report() })
    this.done = this.#loop()
  }

  /** Calls of the relay that are not answered yet. */
  get serving(): number {
    return this.#session?.link.peer.serving ?? 0
  }

  /** How much of its usual speed this worker offers, in (0, 1]: less while its tab is hidden. */
  set share(share: number) {
    if (share === this.#share) return
    this.#share = share
    this.#report()
  }

  /** Says goodbye, lets runs in flight finish (for at most `drainMs`), and stops. */
  async drain(drainMs: number = DEFAULTS.drainMs): Promise<void> {
    const stopping = new RpcError('canceled', 'the worker is stopping')
    this.#stop.abort(stopping)
    if (this.#session?.welcomed) {
      this.#sayGoodbye(this.#session.link)
      await atMost(this.#deps.clock, drainMs, this.done)
    }
    this.#quit.abort(stopping)
    await this.done
  }

  /** Tells the relay how it stands here. One that does not want to know, or has gone, is told nothing. */
  #report(): void {
    if (!this.#session?.welcomed) return
    const { loads } = this.#runs
    const report: Report = {
      models: loads.loaded.slice(-LIMITS.maxLoadedModels),
      share: this.#share,
      memory: { usedBytes: loads.usedBytes, budgetBytes: this.#deps.memoryBytes ?? DEFAULTS.workerMemoryBytes },
    }
    const { send } = this.#session.link.peer
    const relay = clientOver(Relay, { transport: { send, codec: 'msgpack', close() {} }, clock: this.#deps.clock })
    relay.report(report).catch(() => {})
  }

  #sayGoodbye(link: SocketPeer): void {
    try {
      link.peer.control('goodbye', { reason: 'draining' })
    } catch {
      // The socket is gone already; there is nobody to say goodbye to.
    }
  }

  async #loop(): Promise<void> {
    const { clock, random, log, onState } = this.#deps
    for (let failures = 0; !this.#stop.signal.aborted;) {
      onState?.({ phase: 'connecting' })
      let error: RpcError
      const startedAtMs = clock.now()
      try {
        error = await this.#serve()
      } catch (thrown) {
        error = RpcError.from(thrown)
      }
      if (this.#stop.signal.aborted) break
      if (error.code === 'unauthenticated' || error.code === 'permission_denied') {
        log('error', 'enrolment refused', { reason: error.message })
        onState?.({ phase: 'stopped', reason: error.message })
        return
      }
      // Only a link that lasted counts as a success: a relay that welcomes and drops must not be stormed.
      if (clock.now() - startedAtMs > DEFAULTS.joinTimeoutMs + DEFAULTS.reconnectCapMs) failures = 0
      const backOff = { baseMs: DEFAULTS.reconnectBaseMs, capMs: DEFAULTS.reconnectCapMs }
      const askedMs = Math.min(error.retryAfterMs ?? 0, DEFAULTS.retryAfterCapMs)
      // Told its turn (shared/relay/join_gate.ts), it comes soon after. Otherwise all were told the same, and it waits as
      // long again as chance says, or they would come back together.
      const isTurn = error.code === 'resource_exhausted' && askedMs > 0
      const retryInMs = askedMs + (isTurn ? random() * askedMs / 4 : fullJitterMs(failures++, backOff, random))
      log('warn', 'link lost', { reason: error.message, retryInMs: Math.round(retryInMs) })
      onState?.({ phase: 'waiting', reason: error.message, retryInMs })
      await sleep(clock, retryInMs, this.#stop.signal).catch(() => {})
    }
    onState?.({ phase: 'stopped', reason: 'asked to stop' })
  }

  /** Enrols, and serves on one socket until it closes. @returns or throws why it ended */
  async #serve(): Promise<RpcError> {
    const { clock } = this.#deps
    using joining = new Deadline(clock, DEFAULTS.joinTimeoutMs, this.#stop.signal)
    const { token, socket } = await this.#enrol(joining.signal)
    const ended = Promise.withResolvers<RpcError>()
    let missed = 0
    let cancelPing = () => {}
    const link = socketPeer(socket, {
      serve: this.#runs.send,
      clock,
      // A relay that was enrolled at may send a model's parameters whole.
      maxMessageBytes: LIMITS.maxTrainingBytes,
      onControl: (frame) => {
        if (frame.type !== 'welcome' || session.welcomed) return
        const { worker, relay, pingIntervalMs } = readWelcome(frame)
        session.welcomed = true
        joining[Symbol.dispose]()
        joining.signal.removeEventListener('abort', onLate)
        ping(pingIntervalMs)
        this.#deps.onState?.({ phase: 'serving', worker, relay })
        if (this.#share < 1) this.#report()
      },
    })
    const session = { link, welcomed: false }
    const onLate = () => ended.resolve(lost(`no welcome: ${RpcError.from(joining.signal.reason).message}`))
    const onQuit = () => ended.resolve(lost('the worker is stopping'))
    joining.signal.addEventListener('abort', onLate)
    if (joining.signal.aborted) onLate()
    this.#quit.signal.addEventListener('abort', onQuit)
    // Whatever comes is a sign of life: on a slow line pongs queue behind data.
    socket.addEventListener('message', () => missed = 0)
    const ping = (intervalMs: number) => {
      // The last one is waited for half as long: what has not come by then had two intervals and a half for it.
      const waitMs = missed < MAX_MISSED_PONGS ? intervalMs : intervalMs / 2
      cancelPing = clock.after(waitMs, () => {
        if (missed >= MAX_MISSED_PONGS) return ended.resolve(lost('no answer to pings'))
        missed++
        link.ping()
        ping(intervalMs)
      })
    }
    const sayHello = () => {
      try {
        link.peer.control('hello', this.#hello(token))
      } catch (thrown) {
        ended.resolve(RpcError.from(thrown))
      }
    }
    if (socket.readyState === OPEN) sayHello()
    else socket.addEventListener('open', sayHello)
    this.#session = session
    void link.closed.then(({ code, reason }) => ended.resolve(lost(`${code}${reason ? ` ${reason}` : ''}`)))

    const error = await ended.promise
    cancelPing()
    joining.signal.removeEventListener('abort', onLate)
    this.#quit.signal.removeEventListener('abort', onQuit)
    this.#session = undefined
    // Not awaited: a socket whose other end has gone may take long to say that it is closed.
    link.peer.close(error)
    link.close(1000, 'goodbye')
    return error
  }

  /** A token and a socket, or the reason why there is none yet; a socket that comes too late is closed. */
  async #enrol(signal: AbortSignal): Promise<{ token: string; socket: SocketLike }> {
    const enrolling = this.#deps.enrol(signal)
    enrolling.then(({ socket }) => signal.aborted && socket.close(1000), () => {})
    return await untilAborted(enrolling, signal)
  }

  #hello(token: string): Hello {
    const { name, engine, memoryBytes } = this.#deps
    const { info } = engine
    return {
      token,
      name: clip(name),
      incarnation: this.#incarnation,
      info: {
        ...info,
        build: clip(info.build),
        adapter: clip(info.adapter),
        reason: info.reason.slice(0, 1000),
        // What its owner lends. Where they said nothing, a larger model is worth a try.
        limits: memoryBytes === undefined ? info.limits : { ...info.limits, maxModelBytes: largestModel(memoryBytes) },
      },
      models: this.#runs.loads.loaded.slice(-LIMITS.maxLoadedModels),
    }
  }
}

/** Drivers say of themselves what they like; a relay takes no more than this. */
function clip(text: string): string {
  return text.slice(0, LIMITS.maxNameLength)
}

/** @throws RpcError `invalid_argument`, upon which the socket is closed */
function readWelcome(frame: ControlFrame): Welcome {
  const parsed = welcome.safeParse(frame.header)
  if (parsed.success) return parsed.data
  throw new RpcError('invalid_argument', 'Cannot join the relay: its welcome is malformed')
}

function lost(why: string): RpcError {
  return new RpcError('unavailable', `Cannot finish the call: the link to the relay was lost (${why})`)
}
