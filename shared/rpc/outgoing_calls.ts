import { LIMITS } from '../base/limits.ts'
import { RpcError } from '../wire/errors.ts'
import { encodeFrame, type Frame, type ReceivedFrame } from '../wire/frame.ts'
import { CallTable } from './call_table.ts'
import { abortError, listen, unlisten } from './deadline.ts'
import {
  encodeFitting,
  type MessageSizes,
  readMetadata,
  readPayload,
  readResponseError,
  requestFields,
} from './frame_headers.ts'
import { PayloadQueue } from './payload_queue.ts'
import type { RpcRequest, RpcResponse } from './send.ts'

export interface OutgoingOptions {
  /** Writes one frame's messages. @throws RpcError `unavailable` */
  write(messages: readonly Uint8Array<ArrayBuffer>[]): void
  /** The socket failed where no call can be told of it. */
  onGone(error: RpcError): void
  /** A call ended before its answer had come in whole: what has come of it is of no more use. */
  onAbandoned(id: number): void
  /** An answer came after its call had ended. */
  onLate(): void
  /** Number of the first call. */
  firstId: number
  /** The number after which 1 comes again. */
  lastId: number
  sizes: MessageSizes
}

interface Pending {
  resolve: (response: RpcResponse) => void
  reject: (error: RpcError) => void
  stream: boolean
  /** Set once a stream has begun; it ends with `end`. */
  items?: PayloadQueue
  signal: AbortSignal
  onAbort: () => void
}

/** The calls that one side of a socket has made and that have not ended. */
export class OutgoingCalls {
  readonly #options: OutgoingOptions
  readonly #pending = new CallTable<Pending>()
  #nextId: number

  constructor(options: OutgoingOptions) {
    this.#options = options
    this.#nextId = options.firstId
  }

  get size(): number {
    return this.#pending.size
  }

  send(request: RpcRequest): Promise<RpcResponse> {
    if (request.signal.aborted) return Promise.reject(abortError(request.signal.reason))
    if (this.#pending.size >= LIMITS.maxCallsPerSocket) {
      const reason = `Cannot call ${request.service}: at most ${LIMITS.maxCallsPerSocket} calls may share a socket`
      return Promise.reject(new RpcError('resource_exhausted', reason, { neverSent: true }))
    }
    const id = this.#takeId()
    return new Promise((resolve, reject) => {
      const { signal, stream } = request
      const onAbort = () => this.#giveUp(id, abortError(signal.reason))
      listen(signal, onAbort)
      this.#pending.set(id, { resolve, reject, stream, signal, onAbort })
      try {
        this.#options.write(
          encodeFitting('request', id, request.payload, requestFields(request), this.#options.sizes),
        )
      } catch (cause) {
        this.#settle(id)
        reject(unsent(RpcError.from(cause)))
      }
    })
  }

  onResponse(frame: ReceivedFrame): void {
    const pending = this.#pending.get(frame.id)
    if (!pending) return this.#options.onLate()
    if (pending.items) return this.#giveUp(frame.id, broken('it came a second time'))
    const error = readResponseError(frame.header)
    if (error) return void this.#settle(frame.id)?.reject(error)
    const isStream = frame.header.stream === true
    if (isStream !== pending.stream) {
      const reason = broken(isStream ? 'expected one value, got a stream' : 'expected a stream, got one value')
      return isStream ? this.#giveUp(frame.id, reason) : void this.#settle(frame.id)?.reject(reason)
    }
    try {
      const metadata = readMetadata(frame.header.metadata)
      if (isStream) {
        pending.items = this.#openStream(frame.id)
        pending.resolve({ kind: 'stream', metadata, payloads: pending.items })
      } else {
        const response: RpcResponse = { kind: 'unary', metadata, payload: readPayload(frame) }
        this.#settle(frame.id)
        pending.resolve(response)
      }
    } catch (thrown) {
      this.#giveUp(frame.id, broken(RpcError.from(thrown).message))
    }
  }

  onChunk(frame: ReceivedFrame): void {
    const pending = this.#pending.get(frame.id)
    if (!pending) return this.#options.onLate()
    if (!pending.items) return this.#giveUp(frame.id, broken('a stream must begin with a response'))
    try {
      if (pending.items.push(readPayload(frame), frame.bytes)) return
      this.#giveUp(frame.id, broken('the stream ran ahead of its reader'))
    } catch (thrown) {
      this.#giveUp(frame.id, broken(RpcError.from(thrown).message))
    }
  }

  onEnd(frame: Frame): void {
    const pending = this.#settle(frame.id)
    if (!pending) return this.#options.onLate()
    const error = readResponseError(frame.header)
    if (!pending.items) return pending.reject(error ?? broken('it ended before it began'))
    if (error) pending.items.fail(error)
    else pending.items.end()
  }

  /** Ends all of them with `error`. */
  close(error: RpcError): void {
    for (const id of [...this.#pending.keys()]) this.#fail(id, error)
  }

  #openStream(id: number): PayloadQueue {
    return new PayloadQueue({
      onTaken: (bytes) => this.#tell({ type: 'credit', id, header: { bytes }, parts: [] }),
      onStop: () => this.#giveUp(id, new RpcError('canceled', 'Cannot finish the stream: the caller stopped reading')),
    })
  }

  #takeId(): number {
    let id = this.#nextId
    while (this.#pending.has(id)) id = this.#following(id)
    this.#nextId = this.#following(id)
    return id
  }

  #following(id: number): number {
    return id === this.#options.lastId ? 1 : id + 1
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id)
    if (!pending) return undefined
    this.#pending.delete(id)
    unlisten(pending.signal, pending.onAbort)
    return pending
  }

  #fail(id: number, error: RpcError): boolean {
    const pending = this.#settle(id)
    if (!pending) return false
    if (pending.items) pending.items.fail(error)
    else pending.reject(error)
    return true
  }

  /** Fails a call and tells the other side that nobody waits for it. */
  #giveUp(id: number, error: RpcError): void {
    if (!this.#fail(id, error)) return
    this.#options.onAbandoned(id)
    this.#tell({ type: 'cancel', id, header: {}, parts: [] })
  }

  #tell(frame: Frame): void {
    try {
      this.#options.write(encodeFrame(frame))
    } catch (cause) {
      this.#options.onGone(RpcError.from(cause))
    }
  }
}

function broken(reason: string): RpcError {
  return new RpcError('internal', `Cannot read the answer: ${reason}`)
}

/** The same failure, marked as one that struck before anything left this side. */
function unsent(error: RpcError): RpcError {
  return new RpcError(error.code, error.message, { details: error.details, cause: error, neverSent: true })
}
