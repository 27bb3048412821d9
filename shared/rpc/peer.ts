import { type Clock, systemClock } from '../base/clock.ts'
import { LIMITS } from '../base/limits.ts'
import { encodeFrame, type Frame, FrameReader, type FrameType } from '../wire/frame.ts'
import { RpcError } from '../wire/errors.ts'
import type { Payload } from '../wire/payload.ts'
import { abortError, Deadline } from './deadline.ts'
import { PayloadQueue } from './payload_queue.ts'
import {
  readMetadata,
  readPayload,
  readRequest,
  readResponseError,
  writePayload,
  writeRequest,
  writeResponseError,
} from './frame_headers.ts'
import type { RpcRequest, RpcResponse, Send, UnaryResponse } from './send.ts'

/** Frames that are not about a call: they belong to whoever owns the socket. */
export type ControlFrame = Frame & { type: 'hello' | 'welcome' | 'goodbye' }

export interface PeerOptions {
  /** Hands one message to the socket. May throw if it is closed. */
  write: (message: Uint8Array<ArrayBuffer>) => void
  /** Answers the other side's calls. Without it they are refused. */
  serve?: Send
  onControl?: (frame: ControlFrame) => void
  /** Counts answers that came after their call had ended. */
  onLate?: () => void
  clock?: Clock
}

interface Pending {
  resolve: (response: RpcResponse) => void
  reject: (error: RpcError) => void
  stream: boolean
  /** Set once a stream has begun; it ends with `end`. */
  items?: PayloadQueue
  release: () => void
}

/**
 * One end of a socket that carries many calls at once, both ways. It owns the call table and no socket: messages come
 * in through `receive`, go out through `write`, so it serves WebSockets, MessagePorts and hibernating objects alike.
 */
export class Peer {
  readonly #options: PeerOptions
  readonly #clock: Clock
  readonly #reader = new FrameReader()
  /** Calls this side made. */
  readonly #outgoing = new Map<number, Pending>()
  /** Calls of the other side being served here. */
  readonly #incoming = new Map<number, Deadline>()
  #nextId = 1
  #closed: RpcError | undefined

  constructor(options: PeerOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  /** Calls in flight that this side made. */
  get inFlight(): number {
    return this.#outgoing.size
  }

  /** Calls in flight that this side serves. */
  get serving(): number {
    return this.#incoming.size
  }

  /** Calls the other side. */
  readonly send: Send = (request) => {
    if (this.#closed) return Promise.reject(unsent(this.#closed))
    if (request.signal.aborted) return Promise.reject(abortError(request.signal.reason))
    if (this.#outgoing.size >= LIMITS.maxCallsPerSocket) {
      const reason = `Cannot call ${request.service}: at most ${LIMITS.maxCallsPerSocket} calls may share a socket`
      return Promise.reject(new RpcError('resource_exhausted', reason, { neverSent: true }))
    }
    const id = this.#takeId()
    return new Promise((resolve, reject) => {
      const onAbort = () => this.#cancel(id, abortError(request.signal.reason))
      request.signal.addEventListener('abort', onAbort, { once: true })
      const release = () => request.signal.removeEventListener('abort', onAbort)
      this.#outgoing.set(id, { resolve, reject, release, stream: request.stream })
      const { header, parts } = writeRequest(request)
      try {
        this.#write('request', id, header, parts)
      } catch (cause) {
        this.#settle(id)
        reject(unsent(RpcError.from(cause)))
      }
    })
  }

  /** Sends a frame that belongs to no call. */
  control(type: ControlFrame['type'], header: Record<string, unknown>): void {
    this.#write(type, 0, header, [])
  }

  /**
   * Takes in one binary message.
   * @throws RpcError `invalid_argument` if it breaks the protocol; the owner must then close the socket
   */
  receive(message: Uint8Array): void {
    const frame = this.#reader.read(message)
    if (!frame) return
    switch (frame.type) {
      case 'request':
        return void this.#answer(frame)
      case 'response':
        return this.#onResponse(frame)
      case 'chunk':
        return this.#onChunk(frame)
      case 'end':
        return this.#onEnd(frame)
      case 'cancel':
        this.#reader.drop('request', frame.id)
        return this.#incoming.get(frame.id)?.cancel(
          new RpcError('canceled', 'Cannot finish the call: the caller cancelled it'),
        )
      default:
        return this.#options.onControl?.(frame as ControlFrame)
    }
  }

  /** Ends everything in flight with `error`. The owner closes the socket. */
  close(error: RpcError): void {
    if (this.#closed) return
    this.#closed = error
    for (const [id, pending] of [...this.#outgoing]) {
      this.#settle(id)
      if (pending.items) pending.items.fail(error)
      else pending.reject(error)
    }
    for (const deadline of this.#incoming.values()) deadline.cancel(error)
  }

  #takeId(): number {
    let id = this.#nextId
    while (this.#outgoing.has(id)) id = id === 0xffffffff ? 1 : id + 1
    this.#nextId = id === 0xffffffff ? 1 : id + 1
    return id
  }

  #write(type: FrameType, id: number, header: Record<string, unknown>, parts: readonly Uint8Array[]): void {
    for (const message of encodeFrame({ type, id, header, parts })) this.#options.write(message)
  }

  /** Writes an answer; a socket that has gone in the meantime has nobody left to tell. */
  #reply(type: FrameType, id: number, header: Record<string, unknown>, parts: readonly Uint8Array[] = []): void {
    if (this.#closed) return
    try {
      this.#write(type, id, header, parts)
    } catch (cause) {
      this.close(RpcError.from(cause))
    }
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#outgoing.get(id)
    if (!pending) return undefined
    this.#outgoing.delete(id)
    pending.release()
    return pending
  }

  #cancel(id: number, error: RpcError): void {
    const pending = this.#settle(id)
    if (!pending) return
    this.#reader.drop('response', id)
    this.#reply('cancel', id, {})
    if (pending.items) pending.items.fail(error)
    else pending.reject(error)
  }

  #onResponse(frame: Frame): void {
    const pending = this.#outgoing.get(frame.id)
    if (!pending) return this.#options.onLate?.()
    const error = readResponseError(frame.header)
    if (error) {
      this.#settle(frame.id)
      return pending.reject(error)
    }
    const metadata = readMetadata(frame.header.metadata)
    if (!pending.stream) {
      this.#settle(frame.id)
      return pending.resolve({ kind: 'unary', metadata, payload: readPayload(frame) })
    }
    pending.items = new PayloadQueue()
    pending.resolve({ kind: 'stream', metadata, payloads: pending.items })
  }

  #onChunk(frame: Frame): void {
    const items = this.#outgoing.get(frame.id)?.items
    if (items) items.push(readPayload(frame))
    else this.#options.onLate?.()
  }

  #onEnd(frame: Frame): void {
    const pending = this.#settle(frame.id)
    if (!pending) return this.#options.onLate?.()
    const error = readResponseError(frame.header)
    if (error) pending.items?.fail(error)
    else pending.items?.end()
  }

  async #answer(frame: Frame): Promise<void> {
    const { id } = frame
    try {
      if (this.#incoming.has(id)) {
        throw new RpcError('invalid_argument', `Cannot serve call ${id}: its number is in use`)
      }
      if (!this.#options.serve) throw new RpcError('unimplemented', 'Cannot serve the call: this side serves none')
      if (this.#incoming.size >= LIMITS.maxCallsPerSocket) {
        const reason = `Cannot serve the call: at most ${LIMITS.maxCallsPerSocket} calls may share a socket`
        throw new RpcError('resource_exhausted', reason, { neverSent: true })
      }
      const request = readRequest(frame)
      using deadline = new Deadline(this.#clock, request.timeoutMs)
      this.#incoming.set(id, deadline)
      try {
        await this.#serve({ ...request, signal: deadline.signal }, id, this.#options.serve)
      } finally {
        this.#incoming.delete(id)
      }
    } catch (thrown) {
      this.#reply('response', id, writeResponseError(RpcError.from(thrown)))
    }
  }

  async #serve(request: RpcRequest, id: number, serve: Send): Promise<void> {
    const response = await serve(request)
    // Nobody waits for the answer of a cancelled call.
    if (response.kind === 'unary') {
      if (!request.signal.aborted) this.#respond(id, response)
      return
    }
    this.#reply('response', id, { stream: true, metadata: response.metadata })
    try {
      for await (const payload of response.payloads) {
        if (request.signal.aborted || this.#closed) return
        this.#sendPayload('chunk', id, payload, {})
      }
      this.#reply('end', id, {})
    } catch (thrown) {
      this.#reply('end', id, writeResponseError(RpcError.from(thrown)))
    }
  }

  #respond(id: number, response: UnaryResponse): void {
    const hasMetadata = Object.keys(response.metadata).length > 0
    this.#sendPayload('response', id, response.payload, hasMetadata ? { metadata: response.metadata } : {})
  }

  #sendPayload(type: 'response' | 'chunk', id: number, payload: Payload, extra: Record<string, unknown>): void {
    const { header, parts } = writePayload(payload)
    this.#reply(type, id, { ...header, ...extra }, parts)
  }
}

/** The same failure, marked as one that struck before anything left this side. */
function unsent(error: RpcError): RpcError {
  return new RpcError(error.code, error.message, { cause: error, neverSent: true })
}
