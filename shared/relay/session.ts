import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { Log } from '../base/log.ts'
import { newId } from '../base/random.ts'
import { type Hello, hello, type Welcome, Worker } from '../contracts/worker.ts'
import type { Pool, PoolWorker } from '../pool/pool.ts'
import { clientOver } from '../rpc/client.ts'
import { type ControlFrame, Peer } from '../rpc/peer.ts'
import { LIMITS } from '../base/limits.ts'
import { PING, PONG } from '../wire/frame.ts'
import { RpcError } from '../wire/errors.ts'

/** One worker's socket, as the runtime's adapter offers it. */
export interface WorkerLink {
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
}

export interface SessionDeps {
  relay: string
  pool: Pool
  clock: Clock
  log: Log
  /** Admits a token, once. Rejects with `unauthenticated` otherwise. */
  admit(token: string): Promise<void>
  onLate(): void
  onJoin(session: Session): void
  onEnd(session: Session): void
}

type State =
  | { phase: 'greeting'; cancelTimer: () => void }
  | { phase: 'admitting' }
  | { phase: 'serving'; worker: EnrolledWorker }
  | { phase: 'closed' }

/** One worker's session: greeting → admitting → serving → closed. */
export class Session {
  readonly #deps: SessionDeps
  readonly #link: WorkerLink
  readonly #peer: Peer
  #state: State
  #lastSeenMs: number

  constructor(deps: SessionDeps, link: WorkerLink, restored?: EnrolledWorker) {
    this.#deps = deps
    this.#link = link
    this.#lastSeenMs = deps.clock.now()
    this.#peer = new Peer({
      write: (message) => link.write(message),
      onControl: (frame) => void this.#onControl(frame),
      onLate: () => deps.onLate(),
      clock: deps.clock,
    })
    this.#state = restored ? { phase: 'serving', worker: restored } : {
      phase: 'greeting',
      cancelTimer: deps.clock.after(
        DEFAULTS.helloTimeoutMs,
        () => this.#refuse(1008, 'expected a hello frame in time'),
      ),
    }
    if (restored) this.#join(restored, [])
  }

  get worker(): EnrolledWorker | undefined {
    return this.#state.phase === 'serving' ? this.#state.worker : undefined
  }

  /** Milliseconds since the socket last showed life. */
  silentMs(nowMs: number): number {
    return nowMs - Math.max(this.#lastSeenMs, this.#link.lastAliveMs?.() ?? 0)
  }

  receive(message: Uint8Array | string): void {
    this.#lastSeenMs = this.#deps.clock.now()
    if (message === PING) return this.#link.write(PONG)
    if (typeof message === 'string') return message === PONG ? undefined : this.#refuse(1003, 'expected binary frames')
    try {
      this.#peer.receive(message)
    } catch (thrown) {
      const tooBig = message.byteLength > LIMITS.maxFrameBytes
      this.#refuse(tooBig ? 1009 : 1002, RpcError.from(thrown).message)
    }
  }

  /** The socket has gone. Calls it carried go to other workers. */
  end(reason: string): void {
    const state = this.#state
    if (state.phase === 'closed') return
    this.#state = { phase: 'closed' }
    if (state.phase === 'greeting') state.cancelTimer()
    if (state.phase === 'serving') {
      this.#deps.log('info', 'worker left', { worker: state.worker.id, name: state.worker.name, reason })
      this.#deps.pool.remove(state.worker.id)
    }
    this.#peer.close(new RpcError('unavailable', `Cannot finish the call: its worker was lost (${reason})`))
    this.#deps.onEnd(this)
  }

  /** Closes the socket from this side. */
  close(code: number, reason: string): void {
    this.#link.close(code, reason.slice(0, 120))
    this.end(reason)
  }

  #refuse(code: number, reason: string): void {
    this.#deps.log('warn', 'worker refused', { code, reason })
    this.close(code, reason)
  }

  async #onControl(frame: ControlFrame): Promise<void> {
    if (frame.type === 'hello' && this.#state.phase === 'greeting') {
      this.#state.cancelTimer()
      this.#state = { phase: 'admitting' }
      return await this.#admit(frame)
    }
    if (frame.type === 'goodbye' && this.#state.phase === 'serving') {
      await this.#deps.pool.drain(this.#state.worker.id)
      return this.close(1000, 'goodbye')
    }
    this.#refuse(1002, `a ${frame.type} frame was not expected here`)
  }

  async #admit(frame: ControlFrame): Promise<void> {
    const parsed = hello.safeParse(frame.header)
    if (!parsed.success) return this.#refuse(1002, `hello is malformed: ${parsed.error.issues[0]?.path.join('.')}`)
    const { token, models, ...greeting } = parsed.data
    try {
      await this.#deps.admit(token)
    } catch (thrown) {
      return this.#refuse(1008, RpcError.from(thrown).message)
    }
    if (this.#state.phase !== 'admitting') return
    const worker: EnrolledWorker = { id: newId('w'), connectedAtMs: this.#deps.clock.now(), ...greeting }
    this.#state = { phase: 'serving', worker }
    this.#link.save(worker)
    const welcome: Welcome = { worker: worker.id, relay: this.#deps.relay, pingIntervalMs: DEFAULTS.pingIntervalMs }
    this.#peer.control('welcome', welcome)
    this.#deps.log('info', 'worker joined', { worker: worker.id, name: worker.name, device: worker.info.device })
    this.#join(worker, models)
  }

  #join(worker: EnrolledWorker, models: readonly string[]): void {
    const client = clientOver(Worker, {
      transport: { send: this.#peer.send, codec: 'tensors', close() {} },
      // A run ends with its callers' deadlines, which its signal carries; this is only the bound beyond all of them.
      timeoutMs: LIMITS.maxTimeoutMs,
      clock: this.#deps.clock,
    })
    const seat: PoolWorker = {
      id: worker.id,
      name: worker.name,
      device: worker.info.device,
      run: (model, calls, signal) => client.run({ model: model.sha256, calls: [...calls] }, { signal }),
    }
    this.#deps.pool.add(seat, models)
    this.#deps.onJoin(this)
  }
}
