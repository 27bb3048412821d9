import { constantTimeEqual } from '../base/bytes.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { LIMITS } from '../base/limits.ts'
import { RpcError } from '../wire/errors.ts'
import { CLOSE_CODES, SCRIPT_OFFSET } from './close_code.ts'
import { Pulse } from './pulse.ts'
import type { Send } from './send.ts'
import { type SocketLike, type SocketPeer, socketPeer, SUBPROTOCOL } from './transports/websocket.ts'

export interface ServedSocketsOptions {
  /** Answers calls, as it does those that come over HTTP. */
  serve: Send
  clock: Clock
  /** What gateways present; undefined until it is known. */
  token(): string | undefined
  /** Whether others than gateways may call as well: those of a function may, those of a host may not. */
  open: boolean
}

/** What a handshake's headers are read from. */
interface HandshakeHeaders {
  get(name: string): string | null | undefined
}

/** Whether a socket may be opened, as a status of HTTP. */
export type Verdict = { status: 101; isGateway: boolean } | { status: 401 | 403 | 426 | 503 }

/**
 * The sockets over which an instance takes calls: who may open one, and how they end. Calls are answered by the same Send
 * as those over HTTP, so that limits, deadlines and interceptors are the same.
 */
export class ServedSockets {
  readonly #options: ServedSocketsOptions
  readonly #links = new Set<SocketPeer>()
  #phase: 'open' | 'leaving' | 'ended' = 'open'

  constructor(options: ServedSocketsOptions) {
    this.#options = options
  }

  /** Sockets that have not closed. */
  get size(): number {
    return this.#links.size
  }

  /** Calls being answered. */
  get serving(): number {
    let calls = 0
    for (const { peer } of this.#links) calls += peer.serving
    return calls
  }

  /** Judges a handshake. */
  admit(headers: HandshakeHeaders): Verdict {
    const protocols = headers.get('sec-websocket-protocol') ?? ''
    if (!protocols.split(',').some((one) => one.trim() === SUBPROTOCOL)) return { status: 426 }
    // Any page may open a socket to any address that its browser reaches, and only this header tells that it did.
    if (headers.get('origin')) return { status: 403 }
    if (this.#phase !== 'open' || this.#links.size >= LIMITS.maxCallSockets) return { status: 503 }
    const authorization = headers.get('authorization')
    if (!authorization) return this.#options.open ? { status: 101, isGateway: false } : { status: 401 }
    const token = this.#options.token()
    // Gateways may hear of a registration before whoever registered hears its answer.
    if (token === undefined) return { status: 503 }
    return constantTimeEqual(authorization, `Bearer ${token}`) ? { status: 101, isGateway: true } : { status: 401 }
  }

  /** Serves a socket that was admitted. It may still be opening. */
  accept(socket: SocketLike, isGateway: boolean): void {
    const { clock, serve } = this.#options
    const link: SocketPeer = socketPeer(socket, {
      clock,
      trustsCaller: isGateway,
      onPong: () => pulse.pong(),
      serve: (request) => {
        if (this.#phase !== 'ended') return serve(request)
        const reason = `Cannot serve ${request.service}/${request.method}: this instance is stopping`
        return Promise.reject(new RpcError('unavailable', reason, { neverSent: true }))
      },
    })
    const pulse = new Pulse({
      clock,
      ping: () => link.ping(),
      onDead: () => {
        link.peer.close(new RpcError('canceled', 'Cannot finish the call: the caller does not answer pings'))
        link.close(GOING_AWAY, 'pings were not answered')
      },
    })
    this.#links.add(link)
    void link.closed.then(() => {
      pulse.stop()
      this.#links.delete(link)
    })
    if (this.#phase !== 'open') this.#say(link)
  }

  /** Asks callers to send no more calls; those that come all the same are still taken. */
  leave(): void {
    if (this.#phase !== 'open') return
    this.#phase = 'leaving'
    for (const link of this.#links) this.#say(link)
  }

  /**
   * Takes no more calls, and closes all sockets when none is running. Resolves when the system has taken all that was
   * answered, however slowly it is read, or after `limitMs`.
   */
  async end(limitMs: number): Promise<void> {
    this.leave()
    this.#phase = 'ended'
    const { clock } = this.#options
    const endsAtMs = clock.now() + limitMs
    while (this.serving > 0 && clock.now() < endsAtMs) await sleep(clock, LOOK_MS)
    for (const link of this.#links) link.close(GOING_AWAY, 'this instance has stopped')
    while (this.#unsentBytes > 0 && clock.now() < endsAtMs) await sleep(clock, LOOK_MS)
  }

  get #unsentBytes(): number {
    let bytes = 0
    for (const { unsentBytes } of this.#links) bytes += unsentBytes
    return bytes
  }

  #say({ peer }: SocketPeer): void {
    try {
      peer.control('goodbye', { reason: 'this instance is stopping' })
    } catch {
      // It is closing, or has not opened.
    }
  }
}

const GOING_AWAY = SCRIPT_OFFSET + CLOSE_CODES.goingAway
/** How often it is looked whether the last call is answered, and its answer taken. */
const LOOK_MS = 20
