import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { RpcError } from '../wire/errors.ts'
import { CLOSE_CODES, SCRIPT_OFFSET } from './close_code.ts'
import type { Peer } from './peer.ts'
import { Pulse } from './pulse.ts'
import { type SocketLike, type SocketPeer, socketPeer } from './transports/websocket.ts'

/** Why a socket is no more: `failed` ones are not opened again at once. */
export type SocketEnd = 'failed' | 'goodbye' | 'idle' | 'closed'

export interface CallSocketOptions {
  clock: Clock
  /** Takes no more calls: it has closed, or will once those that it has are answered. */
  onEnd(why: SocketEnd): void
  /** Has closed, with all that was in flight on it. */
  onClosed(): void
  /** The other side answers pings. */
  onAlive(): void
}

/** How often it is looked whether a socket that was said goodbye to has answered its last call. */
const SETTLE_MS = 50

/** A socket for calls, from when it is opened until it has closed: `opening → open → leaving → closed`, or any part of it. */
export class CallSocket {
  readonly #options: CallSocketOptions
  readonly #link: SocketPeer
  #phase: 'opening' | 'open' | 'leaving' | 'closed' = 'opening'
  #pulse: Pulse | undefined
  #cancelTimer: () => void
  #used = true
  #idleMs = 0

  constructor(socket: SocketLike, options: CallSocketOptions) {
    this.#options = options
    this.#link = socketPeer(socket, {
      clock: options.clock,
      onPong: () => {
        this.#pulse?.pong()
        options.onAlive()
      },
      onControl: ({ type }) => type === 'goodbye' && this.#leave(),
    })
    this.#cancelTimer = options.clock.after(
      DEFAULTS.socketOpenMs,
      () => this.#give('it did not open in time', 'failed'),
    )
    socket.addEventListener('open', () => this.#onOpen())
    // Its close follows.
    socket.addEventListener('error', () => {})
    void this.#link.closed.then(() => this.#onClosed('failed'))
  }

  get isOpen(): boolean {
    return this.#phase === 'open'
  }

  get peer(): Peer {
    return this.#link.peer
  }

  /** Notes that it is in use, so that it is not taken for idle. */
  use(): Peer {
    this.#used = true
    return this.#link.peer
  }

  close(): void {
    this.#give('this side is done', 'closed')
  }

  #onOpen(): void {
    if (this.#phase !== 'opening') return
    this.#cancelTimer()
    this.#phase = 'open'
    this.#pulse = new Pulse({
      clock: this.#options.clock,
      ping: () => this.#link.ping(),
      onTick: () => this.#countIdle(),
      onDead: () => this.#give('pings were not answered', 'failed', SCRIPT_OFFSET + CLOSE_CODES.goingAway),
    })
  }

  #countIdle(): void {
    this.#idleMs = this.#used || this.peer.inFlight > 0 ? 0 : this.#idleMs + DEFAULTS.pingIntervalMs
    this.#used = false
    if (this.#idleMs >= DEFAULTS.socketIdleMs) this.#give('it was idle', 'idle')
  }

  #leave(): void {
    if (this.#phase !== 'open') return
    this.#phase = 'leaving'
    this.#options.onEnd('goodbye')
    this.#closeWhenAnswered()
  }

  #closeWhenAnswered(): void {
    if (this.#phase === 'closed') return
    if (this.peer.inFlight === 0) return this.#give('all is answered', 'goodbye')
    this.#cancelTimer = this.#options.clock.after(SETTLE_MS, () => this.#closeWhenAnswered())
  }

  #give(reason: string, why: SocketEnd, code: number = CLOSE_CODES.normal): void {
    if (this.#phase === 'closed') return
    this.peer.close(new RpcError('unavailable', `Cannot finish the call: the connection was closed (${reason})`))
    this.#onClosed(why)
    this.#link.close(code, reason)
  }

  #onClosed(why: SocketEnd): void {
    if (this.#phase === 'closed') return
    const isNews = this.#phase !== 'leaving'
    this.#phase = 'closed'
    this.#cancelTimer()
    this.#pulse?.stop()
    if (isNews) this.#options.onEnd(why)
    this.#options.onClosed()
  }
}
