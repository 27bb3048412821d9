import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { newId } from '../base/random.ts'
import { type Hello, hello, Relay, type Report, type Welcome, Worker } from '../contracts/worker.ts'
import { cutCalls, joinCalls } from '../pool/join.ts'
import type { Pool, PoolWorker } from '../pool/pool.ts'
import { clientOver } from '../rpc/client.ts'
import { type ControlFrame, Peer } from '../rpc/peer.ts'
import type { Send } from '../rpc/send.ts'
import { createServer, implement } from '../rpc/server.ts'
import { RpcError } from '../wire/errors.ts'
import { PING, PONG } from '../wire/frame.ts'

/** One worker's socket, as the runtime's adapter offers it. */
export interface WorkerLink {
  /** Bytes that one message may have, where it is not LIMITS.maxFrameBytes. */
  readonly maxFrameBytes?: number
  write(message: Uint8Array<ArrayBuffer> | string): void
  close(code: number, reason: string): void
  /** Keeps what a hibernating relay needs to know of this socket when it wakes. */
  save(worker: EnrolledWorker): void
  /** When the socket last showed life that the relay itself did not see (pings its runtime answered). */
  lastAliveMs?(): number
}

/** What outlives hibernation: small enough for a socket's attachment. */
export interface EnrolledWorker {
  id: string
  connectedAtMs: number
  name: string
  incarnation: string
  info: Hello['info']
  /** A stranger's: it is given public models alone. */
  volunteer?: boolean
  /** Models that it was found to compute wrong, and what. */
  barred?: Record<string, string>
  /** What it last told of itself; of its models the last used ones. */
  report?: Report
}

export interface SessionDeps {
  relay: string
  pool: Pool
  clock: Clock
  log: Log
  /** Bytes of a body that this relay can hold, either way; LIMITS.maxMessageBytes by default. */
  maxMessageBytes?: number
  /** Admits a token, once, and says whose worker it is. Rejects with `unauthenticated` otherwise. */
  admit(token: string): Promise<{ volunteer: boolean }>
  onLate(): void
  /** The worker now takes calls. */
  onJoin(session: Session): void
  /** The worker takes no more calls, and leaves when it has finished those it has. */
  onDrain(session: Session): void
  onEnd(session: Session): void
}

/** Before the welcome a socket may cost this much: a hello with all its hashes, and not a body put together in memory. */
const MAX_GREETING_BYTES = LIMITS.maxHeaderBytes

/** Characters of what a worker computed wrong, kept in a socket's attachment. */
const MAX_REASON = 120

type State =
  | { phase: 'greeting' | 'admitting'; cancelTimer: () => void }
  | { phase: 'serving'; worker: EnrolledWorker }
  | { phase: 'closed' }

/** One worker's session: greeting → admitting → serving → closed. */
export class Session {
  readonly #deps: SessionDeps
  readonly #link: WorkerLink
  readonly #peer: Peer
  #state: State
  #lastSeenMs: number
  #greetingBytes = 0

  /** @param restored set for a socket that outlived the relay's memory: it was welcomed before */
  constructor(deps: SessionDeps, link: WorkerLink, restored?: EnrolledWorker) {
    this.#deps = deps
    this.#link = link
    // Waking is no sign of life: what came since is known to the link.
    this.#lastSeenMs = restored?.connectedAtMs ?? deps.clock.now()
    this.#peer = new Peer({
      write: (message) => link.write(message),
      serve: createServer([implement(Relay, { report: (report) => this.#onReport(report) })]),
      onControl: (frame) => void this.#onControl(frame).catch((thrown) => this.#onFailure(thrown)),
      onLate: () => deps.onLate(),
      clock: deps.clock,
      maxFrameBytes: link.maxFrameBytes,
      maxMessageBytes: deps.maxMessageBytes,
      // Answers to calls of the relay's life before may still come, and must not pass for answers to this life's.
      firstId: restored ? crypto.getRandomValues(new Uint32Array(1))[0] || 1 : 1,
    })
    this.#state = restored ? { phase: 'serving', worker: restored } : {
      phase: 'greeting',
      cancelTimer: deps.clock.after(
        DEFAULTS.helloTimeoutMs,
        () => this.#refuse(1008, 'a valid hello frame was expected in time'),
      ),
    }
  }

  /** Takes part from now on. A restored session joins the pool at once. */
  start(): void {
    if (this.#state.phase === 'serving') this.#join(this.#state.worker)
  }

  get worker(): EnrolledWorker | undefined {
    return this.#state.phase === 'serving' ? this.#state.worker : undefined
  }

  /** Calls the worker. */
  get send(): Send {
    return this.#peer.send
  }

  /** Calls to the worker that are not answered yet. */
  get inFlight(): number {
    return this.#peer.inFlight
  }

  /** Milliseconds since the socket last showed life. */
  silentMs(nowMs: number): number {
    return nowMs - Math.max(this.#lastSeenMs, this.#link.lastAliveMs?.() ?? 0)
  }

  receive(message: Uint8Array | string): void {
    if (this.#state.phase === 'closed') return
    this.#lastSeenMs = this.#deps.clock.now()
    try {
      if (message === PING) return this.#link.write(PONG)
      if (message === PONG) return
      if (typeof message === 'string') return this.#refuse(1003, 'binary frames were expected')
      if (this.#state.phase !== 'serving' && (this.#greetingBytes += message.byteLength) > MAX_GREETING_BYTES) {
        return this.#refuse(1009, `a hello may have at most ${MAX_GREETING_BYTES} bytes`)
      }
      this.#peer.receive(message)
    } catch (thrown) {
      this.#onFailure(
        thrown,
        typeof message !== 'string' && message.byteLength > (this.#link.maxFrameBytes ?? LIMITS.maxFrameBytes),
      )
    }
  }

  /** The socket has gone. Calls it carried go to other workers. */
  end(reason: string): void {
    const state = this.#state
    if (state.phase === 'closed') return
    this.#state = { phase: 'closed' }
    if (state.phase === 'greeting' || state.phase === 'admitting') state.cancelTimer()
    if (state.phase === 'serving') {
      this.#deps.log('info', 'worker left', { worker: state.worker.id, name: state.worker.name, reason })
      this.#deps.pool.remove(state.worker.id)
    }
    this.#peer.close(new RpcError('unavailable', `Cannot finish the call: its worker was lost (${reason})`))
    this.#deps.onEnd(this)
  }

  /** Closes the socket from this side. */
  close(code: number, reason: string): void {
    if (this.#state.phase === 'closed') return
    // Ended first: a socket whose `close` throws, or calls back at once, must not be counted twice or for ever.
    this.end(reason)
    try {
      this.#link.close(code, closeReason(reason))
    } catch (thrown) {
      this.#deps.log('warn', 'socket did not close', { reason: String(thrown) })
    }
  }

  #refuse(code: number, reason: string): void {
    this.#deps.log('warn', 'worker refused', { code, reason })
    this.close(code, reason)
  }

  #onFailure(thrown: unknown, isTooLong = false): void {
    const error = RpcError.from(thrown)
    if (error.code === 'invalid_argument') return this.#refuse(isTooLong ? 1009 : 1002, error.message)
    this.#deps.log('error', 'worker session failed', { reason: String(error.cause ?? error) })
    this.close(1011, error.message)
  }

  async #onControl(frame: ControlFrame): Promise<void> {
    const state = this.#state
    if (frame.type === 'hello' && state.phase === 'greeting') {
      this.#state = { phase: 'admitting', cancelTimer: state.cancelTimer }
      return await this.#admit(frame)
    }
    if (frame.type === 'goodbye' && state.phase === 'serving') {
      const drained = this.#deps.pool.drain(state.worker.id)
      this.#deps.onDrain(this)
      await drained
      return this.close(1000, 'goodbye')
    }
    this.#refuse(1002, `a ${frame.type} frame was not expected here`)
  }

  /** Kept with the socket too: a relay that wakes knows who is warm. */
  #onReport(report: Report): Record<string, never> {
    const state = this.#state
    if (state.phase !== 'serving') {
      throw new RpcError('failed_precondition', 'Cannot take the report: the worker must have been welcomed')
    }
    state.worker.report = { ...report, models: report.models.slice(-LIMITS.maxAttachedModels) }
    this.#deps.pool.report(state.worker.id, report)
    this.#link.save(state.worker)
    return {}
  }

  async #admit(frame: ControlFrame): Promise<void> {
    const parsed = hello.safeParse(frame.header)
    if (!parsed.success) return this.#refuse(1002, `hello is malformed: ${parsed.error.issues[0]?.path.join('.')}`)
    const { token, models, ...greeting } = parsed.data
    let volunteer: boolean
    try {
      volunteer = (await this.#deps.admit(token)).volunteer
    } catch (thrown) {
      const { code, message } = RpcError.from(thrown)
      // A store that is away refuses nobody: whoever comes again later may be let in.
      return this.#refuse(code === 'unavailable' || code === 'deadline_exceeded' ? 1013 : 1008, message)
    }
    if (this.#state.phase !== 'admitting') return
    const connectedAtMs = this.#deps.clock.now()
    const worker: EnrolledWorker = {
      id: newId('w'),
      connectedAtMs,
      ...greeting,
      ...(volunteer && { volunteer }),
      report: { models: models.slice(-LIMITS.maxAttachedModels), share: 1, memory: { usedBytes: 0, budgetBytes: 0 } },
    }
    const welcome: Welcome = { worker: worker.id, relay: this.#deps.relay, pingIntervalMs: DEFAULTS.pingIntervalMs }
    this.#link.save(worker)
    this.#peer.control('welcome', welcome)
    this.#state.cancelTimer()
    this.#state = { phase: 'serving', worker }
    this.#deps.log('info', 'worker joined', { worker: worker.id, name: worker.name, device: worker.info.device })
    this.#join(worker, models)
  }

  #join(worker: EnrolledWorker, models = worker.report?.models ?? []): void {
    const client = clientOver(Worker, {
      transport: { send: this.#peer.send, codec: 'tensors', close() {} },
      // A run ends with its callers' deadlines, which its signal carries; this is only the bound beyond all of them.
      timeoutMs: LIMITS.maxTimeoutMs,
      trustInput: true,
      clock: this.#deps.clock,
    })
    const seat: PoolWorker = {
      id: worker.id,
      name: worker.name,
      device: worker.info.device,
      volunteer: worker.volunteer,
      weight: worker.info.gflops,
      limits: worker.info.limits,
      life: worker.incarnation,
      barred: worker.barred,
      onBarred: (model, reason) => {
        const others = Object.entries(worker.barred ?? {}).slice(1 - LIMITS.maxBarredModels)
        worker.barred = { ...Object.fromEntries(others), [model]: reason.slice(0, MAX_REASON) }
        this.#link.save(worker)
      },
      accelerated: worker.info.device === 'webgpu' && !worker.info.fallbackAdapter,
      run: async (model, calls, signal) => {
        const { inputs, rows } = joinCalls(calls)
        const total = calls.length > 1 ? rows.reduce((sum, count) => sum + count, 0) : undefined
        const { sha256, warmUp } = model
        const { outputs, timings } = await client.run({ model: sha256, inputs, rows: total, warmUp }, { signal })
        return { calls: cutCalls(outputs, rows), timings }
      },
    }
    this.#deps.pool.add(seat, models)
    const share = worker.report?.share ?? 1
    if (share < 1) this.#deps.pool.report(worker.id, { models, share })
    this.#deps.onJoin(this)
  }
}

/** A close frame takes 123 bytes of UTF-8, and a socket's `close` throws for more: ASCII alone has its length. */
function closeReason(reason: string): string {
  return reason.replace(/[^\x20-\x7e]/g, '?').slice(0, 120)
}
