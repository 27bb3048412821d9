import type { LookupFunction } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocket } from 'ws'
import { LIMITS } from '../../shared/base/limits.ts'
import { type SocketLike, SUBPROTOCOL } from '../../shared/rpc/transports/websocket.ts'

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/

/**
 * Masks keep proxies that read along from taking a frame's bytes for HTTP (RFC 6455, 10.3). Where none can, they would only
 * cost a pass over each byte at both ends: `ws` skips both where the mask is 0.
 */
function zeroMask(mask: Uint8Array): void {
  mask.fill(0)
}

/**
 * A socket to a relay, a function or a host on Node. `ws` and not the built-in WebSocket: it carries the relay benchmark's
 * calls at about half the processor time, and bounds what one message may hold.
 * @param lookup how a name becomes an address; the system's way by default
 */
export function openSocket(
  url: string | URL,
  headers?: Readonly<Record<string, string>>,
  lookup?: LookupFunction,
): SocketLike {
  const { protocol, hostname } = new URL(url)
  const options = {
    headers,
    perMessageDeflate: false,
    maxPayload: LIMITS.maxFrameBytes,
    followRedirects: false,
    ...(lookup && { lookup }),
    ...((protocol === 'wss:' || LOOPBACK.test(hostname)) && { generateMask: zeroMask }),
  }
  return new NodeSocket(new WebSocket(url, SUBPROTOCOL, options))
}

/**
 * Frames that wait for the turn's end, at most: with more, the other side would stand idle while this one writes them all.
 * 32 callers make 1.5 times as many calls a second with 4 to 16 as with no bound; with 2, each call costs more.
 */
const MAX_HELD = 8

/**
 * A socket of `ws` as sockets are elsewhere, without its imitation of the web's events. What is written in one turn of
 * the event loop goes to the system together, at the turn's end: one call of it for many frames.
 */
export class NodeSocket implements SocketLike {
  /** Messages come as views of what was read, whatever is asked for. */
  binaryType = 'nodebuffer'
  readonly #socket: WebSocket
  #corked: Duplex | undefined
  /** Frames written since it was corked. */
  #held = 0
  /** Frames written in this turn. */
  #frames = 0
  /** The last turn wrote one frame: this one's first is not held, which would win nothing if it is the only one as well. */
  #isSparse = false
  readonly #endTurn = () => {
    this.#isSparse = this.#frames === 1
    this.#frames = 0
    this.#uncork()
  }

  constructor(socket: WebSocket) {
    this.#socket = socket
    // Its close follows and says what it must; an error that nobody hears would end the process.
    socket.on('error', () => {})
  }

  get readyState(): number {
    return this.#socket.readyState
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount
  }

  send(data: Uint8Array<ArrayBuffer> | string): void {
    const isFirst = this.#frames++ === 0
    if (isFirst) process.nextTick(this.#endTurn)
    if (!isFirst || !this.#isSparse) this.#cork()
    this.#socket.send(data)
    if (++this.#held >= MAX_HELD) this.#uncork()
  }

  close(code?: number, reason?: string): void {
    this.#socket.close(code, reason)
  }

  /** Cuts the connection. */
  terminate(): void {
    this.#socket.terminate()
  }

  addEventListener(type: 'open' | 'error', listener: () => void): void
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void
  addEventListener(type: 'close', listener: (event: { code: number; reason: string }) => void): void
  addEventListener(type: string, listener: (event: never) => void): void {
    const tell = listener as (event?: unknown) => void
    if (type === 'message') {
      this.#socket.on('message', (data: Buffer, isBinary) => tell({ data: isBinary ? data : data.toString() }))
    } else if (type === 'close') {
      this.#socket.on('close', (code, reason) => tell({ code, reason: reason.toString() }))
    } else {
      this.#socket.on(type, () => tell())
    }
  }

  #cork(): void {
    if (this.#corked) return
    // `ws` has no batches of its own, and keeps the connection there until it has closed.
    const { _socket: connection } = this.#socket as unknown as { _socket: Duplex | null }
    connection?.cork()
    this.#corked = connection ?? undefined
  }

  #uncork(): void {
    const corked = this.#corked
    this.#corked = undefined
    this.#held = 0
    corked?.uncork()
  }
}
