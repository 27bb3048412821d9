import { type Bytes, decodeUtf8, encodeUtf8 } from '../base/bytes.ts'
import { type Clock, every } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { RpcError } from '../wire/errors.ts'
import type { Payload } from '../wire/payload.ts'
import { type Cancellation, Deadline, untilAborted } from './deadline.ts'
import { COMPRESSED, END_OF_STREAM, readEnvelopes, sealEnvelope } from './envelope.ts'
import {
  answerOfError,
  type HttpAnswer,
  type HttpCodec,
  inCodec,
  readHttpError,
  STREAM_TYPES,
  streamTypeOf,
} from './http.ts'
import { readConnectDetails, writeConnectError } from './http_error.ts'
import { metadataOfResponse } from './metadata.ts'
import type { RpcRequest, RpcResponse, Send, StreamResponse } from './send.ts'

/** How a stream travels over HTTP: in Connect's envelopes, or as server-sent events, which are always JSON. */
export type StreamForm = 'connect' | 'events'

export interface StreamOptions {
  clock: Clock
  /** The request's own signal: it aborts when the caller has gone. */
  gone: Cancellation
  form: StreamForm
  /** Hears once of the stream's end: 'ok' or an error's code, and the error. */
  onEnd(code: string, error: RpcError | undefined): void
}

/**
 * Answers a call of a server-streaming method. The answer is there when the stream has begun or was refused; its body
 * asks for an item when the last one was taken, so that a slow reader slows its producer down. Never rejects.
 */
export async function answerStream(
  send: Send,
  call: Omit<RpcRequest, 'signal'>,
  options: StreamOptions,
): Promise<HttpAnswer> {
  const { clock, gone, form, onEnd } = options
  const codec = call.payload.codec as HttpCodec
  const deadline = new Deadline(clock, call.timeoutMs, gone)
  try {
    const response = await untilAborted(send({ ...call, signal: deadline.signal }), deadline.signal)
    if (response.kind !== 'stream') {
      throw new RpcError('internal', 'Cannot answer the call: expected a stream, got one value')
    }
    return {
      status: 200,
      headers: { ...response.metadata, ...headersOf(form, codec) },
      body: bodyOf(response, WRITERS[form](codec), clock, deadline, onEnd),
    }
  } catch (thrown) {
    const error = RpcError.from(thrown)
    // Whoever still works on it is told that nobody waits.
    deadline.cancel(error)
    onEnd(error.code, error)
    return form === 'events' ? answerOfError(error) : {
      status: 200,
      headers: { ...headersOf(form, codec), 'shoal-refused': error.code },
      body: WRITERS.connect(codec).end(error),
    }
  }
}

function headersOf(form: StreamForm, codec: HttpCodec): Record<string, string> {
  if (form === 'connect') return { 'content-type': STREAM_TYPES[codec] }
  // Proxies that gather a body before they pass it on would turn events into one.
  return { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' }
}

function bodyOf(
  { payloads }: StreamResponse,
  writer: StreamWriter,
  clock: Clock,
  deadline: Deadline,
  onEnd: StreamOptions['onEnd'],
): ReadableStream<Uint8Array> {
  const iterator = payloads[Symbol.asyncIterator]()
  let ended = false
  const finish = (error?: RpcError) => {
    if (ended) return
    ended = true
    if (error) {
      deadline.cancel(error)
      // Not waited for: a producer that hangs never comes to its end.
      void iterator.return?.().catch(() => {})
    } else deadline[Symbol.dispose]()
    onEnd(error?.code ?? 'ok', error)
  }
  const onAbort = () => finish(RpcError.from(deadline.signal.reason))
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      let last: Bytes
      const stopPings = writer.ping ? pings(controller, writer.ping, clock) : () => {}
      try {
        const next = await untilAborted(iterator.next(), deadline.signal)
        stopPings()
        if (!next.done) return controller.enqueue(writer.item(next.value))
        deadline.signal.removeEventListener('abort', onAbort)
        finish()
        last = writer.end()
      } catch (thrown) {
        stopPings()
        const error = RpcError.from(thrown)
        finish(error)
        last = writer.end(error)
      }
      try {
        controller.enqueue(last)
        controller.close()
      } catch {
        // The reader has gone meanwhile: there is nobody to tell.
      }
    },
    start: () => deadline.signal.addEventListener('abort', onAbort, { once: true }),
    cancel: () => finish(new RpcError('canceled', 'Cannot finish the stream: the caller stopped reading')),
  }, { highWaterMark: 0 })
}

/** Says that the stream goes on while its next item takes long: proxies cut lines on which nothing is sent. */
function pings(
  controller: ReadableStreamDefaultController<Uint8Array>,
  ping: () => Bytes,
  clock: Clock,
): () => void {
  return every(clock, DEFAULTS.pingIntervalMs, () => {
    // Below 0, or null where the reader has left: the last ping still waits to be taken.
    if ((controller.desiredSize ?? -1) >= 0) controller.enqueue(ping())
  })
}

interface StreamWriter {
  /** Where the form has something that readers pass over. */
  ping?(): Bytes
  item(payload: Payload): Bytes
  end(error?: RpcError): Bytes
}

const WRITERS: Readonly<Record<StreamForm, (codec: HttpCodec) => StreamWriter>> = {
  connect: (codec) => ({
    item: (payload) => sealEnvelope({ flags: 0, data: inCodec(payload, codec).body }),
    end: (error) => sealEnvelope({ flags: END_OF_STREAM, data: encodeUtf8(JSON.stringify(error ? endOf(error) : {})) }),
  }),
  events: () => ({
    ping: () => encodeUtf8(':\n\n'),
    // JSON as we write it has no line breaks, which would end the event.
    item: (payload) => encodeUtf8(`data: ${decodeUtf8(inCodec(payload, 'json').body).replace(/[\r\n]+/g, ' ')}\n\n`),
    end: (error) =>
      encodeUtf8(
        error ? `event: error\ndata: ${JSON.stringify(writeConnectError(error))}\n\n` : 'event: end\ndata: {}\n\n',
      ),
  }),
}

/** Connect's end of a stream: the error, and as metadata what else is known of it. */
function endOf(error: RpcError): Record<string, unknown> {
  const { 'content-type': _, ...headers } = answerOfError(error).headers
  const metadata = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]))
  return { error: writeConnectError(error), metadata }
}

/** Reads the answer to a call of a server-streaming method. @throws RpcError if it was refused, or is no stream */
export async function readStreamAnswer(response: Response): Promise<RpcResponse> {
  if (response.status !== 200) throw await readHttpError(response)
  const codec = streamTypeOf(response.headers.get('content-type'))
  if (!codec || !response.body) {
    await response.body?.cancel().catch(() => {})
    const got = response.headers.get('content-type')?.slice(0, 80) ?? 'none'
    throw new RpcError('unknown', `Cannot read the stream: its content-type must be application/connect+…, got ${got}`)
  }
  const payloads = readPayloads(response.body, codec)
  if (!response.headers.has('shoal-refused')) {
    return { kind: 'stream', metadata: metadataOfResponse(response.headers), payloads }
  }
  await payloads.next()
  throw new RpcError('internal', 'Cannot read the answer: it was refused, but does not say why')
}

async function* readPayloads(stream: ReadableStream<Uint8Array>, codec: HttpCodec): AsyncGenerator<Payload> {
  const maxBytes = codec === 'json' ? LIMITS.maxJsonBytes : LIMITS.maxMessageBytes
  for await (const { flags, data } of readEnvelopes(stream, maxBytes)) {
    if (flags & COMPRESSED) throw new RpcError('internal', 'Cannot read the stream: its messages must not be packed')
    if (!(flags & END_OF_STREAM)) yield { codec, body: data }
    else {
      const error = readEnd(data)
      if (error) throw error
      return
    }
  }
  throw new RpcError('unavailable', 'Cannot finish the stream: the connection was lost before its end')
}

function readEnd(data: Bytes): RpcError | undefined {
  let end: { error?: unknown; metadata?: Record<string, unknown> }
  try {
    end = JSON.parse(decodeUtf8(data.subarray(0, LIMITS.maxControlBytes))) ?? {}
  } catch (cause) {
    throw new RpcError('internal', 'Cannot read the stream: its end must be JSON', { cause })
  }
  if (end.error === undefined) return undefined
  const { details } = (end.error ?? {}) as { details?: unknown }
  const first = (name: string) => {
    const values = end.metadata?.[name]
    return String(Array.isArray(values) ? values[0] : '')
  }
  const retryAfter = first('retry-after')
  return RpcError.fromJson({ ...end.error as object, details: readConnectDetails(details) }, {
    retryAfterMs: /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined,
    neverSent: first('shoal-never-sent') === '1',
  })
}
