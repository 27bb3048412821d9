import { byteLengthOf } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../base/limits.ts'
import { show } from '../base/show.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import { encodeFrame, type Frame } from '../wire/frame.ts'
import { CallTable } from './call_table.ts'
import { Deadline, untilAborted } from './deadline.ts'
import { encodeError, encodeFitting, type MessageSizes, readRequest } from './frame_headers.ts'
import type { Metadata } from './metadata.ts'
import type { RpcRequest, RpcResponse, Send } from './send.ts'

export interface IncomingOptions {
  /** Writes one frame's messages. @throws RpcError `unavailable` */
  write(messages: readonly Uint8Array<ArrayBuffer>[]): void
  /** The socket failed: there is nobody left to answer. */
  onGone(error: RpcError): void
  /** A request came under a number that is still in use. */
  onDuplicate(): void
  /** Answers the calls. Without it they are refused. */
  serve: Send | undefined
  /** Whether the other side may say on whose behalf it calls. */
  trustsCaller: boolean
  clock: Clock
  sizes: MessageSizes
}

interface Serving {
  id: number
  deadline: Deadline
  /** Nobody waits for an answer: the caller cancelled, or has gone. */
  abandoned: boolean
  /** There is nothing more to say but a stream's items. */
  answered: boolean
  /** Bytes of chunks that may still be sent before the caller takes some. */
  creditBytes: number
  onCredit?: () => void
}

/**
 * The calls of the other side that are served here. A call keeps its place until its handler has ended, even if it was
 * cancelled or answered with a time-out before: else a caller could start handlers without bound.
 */
export class IncomingCalls {
  readonly #options: IncomingOptions
  readonly #serving = new CallTable<Serving>()

  constructor(options: IncomingOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#serving.size
  }

  onRequest(frame: Frame): void {
    const { id } = frame
    // An answer to it would be taken for the first one's.
    if (this.#serving.has(id)) return this.#options.onDuplicate()
    let request: Omit<RpcRequest, 'signal'>
    let serve: Send
    try {
      serve = this.#admit()
      request = readRequest(frame, this.#options.trustsCaller)
    } catch (thrown) {
      return this.#tell(encodeError('response', id, RpcError.from(thrown)))
    }
    const deadline = new Deadline(this.#options.clock, request.timeoutMs, undefined, 'later')
    const { signal } = deadline
    const call: Serving = { id, deadline, abandoned: false, answered: false, creditBytes: LIMITS.streamWindowBytes }
    this.#serving.set(id, call)
    deadline.listen(() => this.#refuse(call, signal.reason))
    // Not an async function: each promise between handler and socket is a turn of the queue and what it allocates.
    begin(serve, { ...request, signal }).then(
      (response) => this.#answer(call, response),
      (thrown) => {
        this.#refuse(call, thrown)
        this.#end(call)
      },
    )
    // After an answer that was there at once: one that is written by now needs no timer, which costs 0.3 µs.
    void SOON.then(() => deadline.start())
  }

  onCancel(id: number): void {
    const call = this.#serving.get(id)
    if (call) abandon(call, new RpcError('canceled', 'Cannot finish the call: the caller cancelled it'))
  }

  /** @throws RpcError `invalid_argument` */
  onCredit(frame: Frame): void {
    const { bytes } = frame.header
    if (!Number.isSafeInteger(bytes) || (bytes as number) <= 0) {
      throw invalid(`Cannot read the frame: credit must be a whole number of bytes above 0, got ${show(bytes)}`)
    }
    const call = this.#serving.get(frame.id)
    if (!call) return
    call.creditBytes = Math.min(call.creditBytes + (bytes as number), LIMITS.streamWindowBytes)
    call.onCredit?.()
  }

  close(error: RpcError): void {
    for (const call of this.#serving.values()) abandon(call, error)
  }

  #admit(): Send {
    const { serve } = this.#options
    if (!serve) throw new RpcError('unimplemented', 'Cannot serve the call: this side serves none')
    if (this.#serving.size < LIMITS.maxCallsPerSocket) return serve
    const reason = `Cannot serve the call: at most ${LIMITS.maxCallsPerSocket} calls may share a socket`
    throw new RpcError('resource_exhausted', reason, { neverSent: true })
  }

  /** The handler is done: answers, unless the time was over before. */
  #answer(call: Serving, response: RpcResponse): void {
    if (!call.answered && response.kind === 'stream') {
      call.answered = true
      return void this.#stream(call, response).then(() => this.#end(call))
    }
    try {
      if (!call.answered && response.kind === 'unary') {
        const metadata = withMetadata({}, response.metadata)
        this.#push(encodeFitting('response', call.id, response.payload, metadata, this.#options.sizes))
      }
    } catch (thrown) {
      this.#refuse(call, thrown)
    }
    this.#end(call)
  }

  #refuse(call: Serving, thrown: unknown): void {
    if (call.answered) return
    call.answered = true
    if (!call.abandoned) this.#tell(encodeError('response', call.id, RpcError.from(thrown)))
  }

  /** After the answer was written: what is left to do is not waited for. */
  #end(call: Serving): void {
    call.deadline[Symbol.dispose]()
    this.#serving.delete(call.id)
  }

  async #stream(call: Serving, { metadata, payloads }: Extract<RpcResponse, { kind: 'stream' }>): Promise<void> {
    const { id, deadline: { signal } } = call
    const iterator = payloads[Symbol.asyncIterator]()
    try {
      this.#push(encodeFrame({ type: 'response', id, header: withMetadata({ stream: true }, metadata), parts: [] }))
      for (;;) {
        const next = await untilAborted(iterator.next(), signal)
        if (next.done) break
        call.creditBytes -= this.#push(encodeFitting('chunk', id, next.value, {}, this.#options.sizes))
        // Before the next item is made, not after: a slow reader slows its producer down.
        while (call.creditBytes <= 0) await untilAborted(nextCredit(call), signal)
      }
      this.#push(encodeFrame({ type: 'end', id, header: {}, parts: [] }))
    } catch (thrown) {
      if (!call.abandoned) this.#tell(encodeError('end', id, RpcError.from(thrown)))
      await iterator.return?.().catch(() => {})
    }
  }

  /** @returns bytes written @throws RpcError `unavailable` */
  #push(messages: readonly Uint8Array<ArrayBuffer>[]): number {
    // Counted first: writing may move a message's bytes elsewhere.
    const bytes = byteLengthOf(messages)
    this.#options.write(messages)
    return bytes
  }

  #tell(messages: readonly Uint8Array<ArrayBuffer>[]): void {
    try {
      this.#options.write(messages)
    } catch (cause) {
      this.#options.onGone(RpcError.from(cause))
    }
  }
}

const SOON = Promise.resolve()

/** A Send that throws has failed as one that rejects. */
function begin(serve: Send, request: RpcRequest): Promise<RpcResponse> {
  try {
    return serve(request)
  } catch (thrown) {
    return Promise.reject(thrown)
  }
}

function abandon(call: Serving, error: RpcError): void {
  call.abandoned = true
  call.deadline.cancel(error)
}

function nextCredit(call: Serving): Promise<void> {
  return new Promise((resolve) => call.onCredit = resolve)
}

function withMetadata(header: Record<string, unknown>, metadata: Metadata): Record<string, unknown> {
  for (const _ in metadata) return { ...header, metadata }
  return header
}
