import { type Clock, systemClock } from '../base/clock.ts'
import { LIMITS } from '../base/limits.ts'
import { RpcError } from '../wire/errors.ts'
import { encodeFrame, type Frame, FrameReader } from '../wire/frame.ts'
import { IncomingCalls } from './incoming_calls.ts'
import { OutgoingCalls } from './outgoing_calls.ts'
import type { Send } from './send.ts'

/** Frames that are not about a call: they belong to whoever owns the socket. */
export type ControlFrame = Frame & { type: 'hello' | 'welcome' | 'goodbye' }

export interface PeerOptions {
  /** Hands one message to the socket, which owns it from then on, but not the buffer of a short one. May throw if it is closed. */
  write: (message: Uint8Array<ArrayBuffer>) => void
  /** Hands over all messages of a frame instead, in order, for owners that let short frames overtake long ones. */
  writeFrame?: (messages: readonly Uint8Array<ArrayBuffer>[]) => void
  /** Answers the other side's calls. Without it they are refused. */
  serve?: Send
  /** Whether the other side may say on whose behalf it calls: a gateway may, once it was admitted as one. Not by default. */
  trustsCaller?: boolean
  onControl?: (frame: ControlFrame) => void
  /** Counts answers that came after their call had ended. */
  onLate?: () => void
  /** Counts requests that came under a number still in use. They are dropped. */
  onDuplicate?: () => void
  clock?: Clock
  /** Number of the first call, 1 by default. On a socket that had another peer before, answers to that one may still come. */
  firstId?: number
  /** The number after which 1 comes again: 2^32 − 1 unless a test wants to see it. */
  lastId?: number
  /** Bytes of one message, either way: those of a frame on a socket unless both ends agree on more. */
  maxFrameBytes?: number
  /** Bytes of a body, either way: more than a call's where what is trained travels. */
  maxMessageBytes?: number
}

/**
 * One end of a socket that carries many calls at once, both ways. It owns the calls and no socket: messages come in
 * through `receive`, go out through `write`, so it serves WebSockets, MessagePorts and hibernating objects alike.
 */
export class Peer {
  readonly #options: PeerOptions
  readonly #reader: FrameReader
  readonly #outgoing: OutgoingCalls
  readonly #incoming: IncomingCalls
  #closed: RpcError | undefined

  constructor(options: PeerOptions) {
    this.#options = options
    const { maxFrameBytes = LIMITS.maxFrameBytes, maxMessageBytes = LIMITS.maxMessageBytes } = options
    const sizes = { maxFrameBytes, maxMessageBytes }
    this.#reader = new FrameReader(maxFrameBytes, maxMessageBytes)
    const write = (messages: readonly Uint8Array<ArrayBuffer>[]) => this.#write(messages)
    const onGone = (error: RpcError) => this.close(error)
    this.#outgoing = new OutgoingCalls({
      write,
      onGone,
      onAbandoned: (id) => {
        this.#reader.discard('response', id)
        this.#reader.discard('chunk', id)
      },
      onLate: () => options.onLate?.(),
      firstId: options.firstId ?? 1,
      lastId: options.lastId ?? 0xffffffff,
      sizes,
    })
    this.#incoming = new IncomingCalls({
      write,
      onGone,
      onDuplicate: () => options.onDuplicate?.(),
      serve: options.serve,
      trustsCaller: options.trustsCaller ?? false,
      clock: options.clock ?? systemClock,
      sizes,
    })
  }

  /** Calls in flight that this side made. */
  get inFlight(): number {
    return this.#outgoing.size
  }

  /** Calls in flight that this side serves. */
  get serving(): number {
    return this.#incoming.size
  }

  /** Bytes held of frames that have come in part. */
  get heldBytes(): number {
    return this.#reader.heldBytes
  }

  /** Calls the other side. */
  readonly send: Send = (request) => {
    if (this.#closed) {
      const { code, message } = this.#closed
      return Promise.reject(new RpcError(code, message, { cause: this.#closed, neverSent: true }))
    }
    return this.#outgoing.send(request)
  }

  /** Sends a frame that belongs to no call. @throws RpcError `unavailable` if the socket is closed */
  control(type: ControlFrame['type'], header: Record<string, unknown>): void {
    this.#write(encodeFrame({ type, id: 0, header, parts: [] }))
  }

  /**
   * Takes in one binary message, which must not change afterwards. After `close` it is ignored.
   * @throws RpcError `invalid_argument` if it breaks the protocol; the owner must then close the socket
   */
  receive(message: Uint8Array): void {
    if (this.#closed) return
    const frame = this.#reader.read(message)
    if (!frame) return
    switch (frame.type) {
      case 'request':
        return this.#incoming.onRequest(frame)
      case 'response':
        return this.#outgoing.onResponse(frame)
      case 'chunk':
        return this.#outgoing.onChunk(frame)
      case 'end':
        return this.#outgoing.onEnd(frame)
      case 'cancel':
        this.#reader.abandon('request', frame.id)
        return this.#incoming.onCancel(frame.id)
      case 'credit':
        return this.#incoming.onCredit(frame)
      default:
        return this.#options.onControl?.(frame as ControlFrame)
    }
  }

  /** Ends everything in flight with `error`. The owner closes the socket. */
  close(error: RpcError): void {
    if (this.#closed) return
    this.#closed = error
    this.#reader.clear()
    this.#outgoing.close(error)
    this.#incoming.close(error)
  }

  #write(messages: readonly Uint8Array<ArrayBuffer>[]): void {
    if (this.#closed) throw this.#closed
    try {
      if (this.#options.writeFrame) this.#options.writeFrame(messages)
      else for (const message of messages) this.#options.write(message)
    } catch (cause) {
      if (cause instanceof RpcError) throw cause
      throw new RpcError('unavailable', 'Cannot send: the connection failed', { cause })
    }
  }
}
