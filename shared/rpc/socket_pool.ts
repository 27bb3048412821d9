import { byteLengthOf } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { fullJitterMs, type Random } from '../base/random.ts'
import type { Payload } from '../wire/payload.ts'
import { CallSocket, type SocketEnd } from './call_socket.ts'
import type { RpcRequest, RpcResponse, Send } from './send.ts'
import type { SocketLike } from './transports/websocket.ts'

export interface SocketPoolOptions {
  /** Opens a socket with the subprotocol `shoal.v1` to a ws(s) URL, `headers` in its handshake. May throw. */
  open(url: string, headers: Readonly<Record<string, string>>): SocketLike
  clock: Clock
  random: Random
}

/**
 * One socket for each instance that takes calls over sockets: opened by the first call, shared by all that follow, closed
 * when it was idle for long. While there is none, calls go the plain way, and so do long messages: on a socket all that
 * comes after them would wait.
 */
export class SocketPool {
  readonly #options: SocketPoolOptions
  readonly #sockets = new Set<CallSocket>()
  #closed = false

  constructor(options: SocketPoolOptions) {
    this.#options = options
  }

  /** Sockets that have not closed. */
  get size(): number {
    return this.#sockets.size
  }

  /**
   * @param base the instance's http(s) address
   * @param headers of the handshake
   * @param plain the way of calls while there is no socket
   */
  connect(base: string, headers: Readonly<Record<string, string>>, plain: Send): Send {
    const url = `${base.replace(/^http/i, 'ws').replace(/\/+$/, '')}/rpc`
    const way = new SocketWay(() => this.#options.open(url, headers), plain, this.#options, this.#sockets)
    return (request) => this.#closed ? plain(request) : way.send(request)
  }

  /** Ends all sockets; calls in flight on them fail, later ones go the plain way. */
  close(): void {
    this.#closed = true
    for (const socket of [...this.#sockets]) socket.close()
  }
}

/** The way to one instance, over one socket after another. */
class SocketWay {
  readonly #open: () => SocketLike
  readonly #plain: Send
  readonly #options: SocketPoolOptions
  readonly #sockets: Set<CallSocket>
  /** Takes calls, or soon will. */
  #socket: CallSocket | undefined
  #failures = 0
  #restUntilMs = -Infinity

  constructor(open: () => SocketLike, plain: Send, options: SocketPoolOptions, sockets: Set<CallSocket>) {
    this.#open = open
    this.#plain = plain
    this.#options = options
    this.#sockets = sockets
  }

  send(request: RpcRequest): Promise<RpcResponse> {
    const socket = this.#socket
    if (socket === undefined) this.#openIfDue()
    const takesIt = socket?.isOpen && socket.peer.inFlight < LIMITS.maxCallsPerSocket && !isLong(request.payload)
    return takesIt ? socket.use().send(request) : this.#plain(request)
  }

  #openIfDue(): void {
    const { clock } = this.#options
    if (clock.now() < this.#restUntilMs) return
    let opening: SocketLike
    try {
      opening = this.#open()
    } catch {
      return this.#rest('failed')
    }
    const socket = new CallSocket(opening, {
      clock,
      onEnd: (why) => {
        this.#socket = undefined
        this.#rest(why)
      },
      onClosed: () => this.#sockets.delete(socket),
      // Not when it opens: one that opens and closes at once is left alone for longer and longer.
      onAlive: () => this.#failures = 0,
    })
    this.#sockets.add(socket)
    this.#socket = socket
  }

  #rest(why: SocketEnd): void {
    const { clock, random } = this.#options
    const bounds = { baseMs: DEFAULTS.reconnectBaseMs, capMs: DEFAULTS.reconnectCapMs }
    if (why === 'failed') this.#restUntilMs = clock.now() + fullJitterMs(this.#failures++, bounds, random)
    if (why === 'goodbye') this.#restUntilMs = clock.now() + DEFAULTS.socketRestMs
  }
}

/** A message that would need fragments. What is not written yet is not known, and short as a rule. */
function isLong(payload: Payload): boolean {
  if (payload.codec === 'value') return false
  const bytes = payload.codec === 'tensors' ? byteLengthOf(payload.parts) : payload.body.byteLength
  return bytes > LIMITS.maxFrameBytes - LIMITS.maxHeaderBytes
}
