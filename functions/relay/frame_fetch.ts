/** Calls from a gateway to a Durable Object: one frame as a request's body, one as its answer's. `fetch` carries cancellation. */
import { byteLengthOf, type Bytes } from '../../shared/base/bytes.ts'
import type { Clock } from '../../shared/base/clock.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import type { Log } from '../../shared/base/log.ts'
import { abortError, Deadline } from '../../shared/rpc/deadline.ts'
import {
  readMetadata,
  readPayload,
  readRequest,
  readResponseError,
  writePayload,
  writeRequest,
  writeResponseError,
} from '../../shared/rpc/frame_headers.ts'
import type { Send } from '../../shared/rpc/send.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import { encodeFrame, type Frame, FrameReader, type FrameType } from '../../shared/wire/frame.ts'

/** What is called: a Durable Object's stub, or anything else that answers requests. */
export interface Fetcher {
  fetch(url: string, init: RequestInit): Promise<Response>
}

/** A message at its largest, its header, and the padding of its parts. */
const MAX_BYTES = LIMITS.maxMessageBytes + LIMITS.maxHeaderBytes + 16 * LIMITS.maxTensors

/**
 * Calls whatever `reach` gives. It is asked for each call, since a stub belongs to the request that made it and is of no
 * more use once a call over it has failed.
 */
export function fetchFrames(reach: () => Fetcher): Send {
  return async (request) => {
    if (request.stream) {
      throw new RpcError('unimplemented', `Cannot stream ${request.service}/${request.method} to a relay`, {
        neverSent: true,
      })
    }
    const { header, parts } = writeRequest(request)
    let bytes: ArrayBuffer
    try {
      const body = encode('request', header, parts)
      const response = await reach().fetch('https://relay/', { method: 'POST', body, signal: request.signal })
      bytes = await response.arrayBuffer()
    } catch (cause) {
      throw request.signal.aborted ? abortError(request.signal.reason) : lost(cause)
    }
    const frame = decode('response', bytes)
    const error = readResponseError(frame.header)
    if (error) throw error
    return { kind: 'unary', metadata: readMetadata(frame.header.metadata), payload: readPayload(frame) }
  }
}

/** Answers what `fetchFrames` sent. The call is cancelled when its caller has gone. */
export async function answerFrames(
  request: Request,
  serve: Send,
  { clock, log }: { clock: Clock; log: Log },
): Promise<Response> {
  try {
    const call = readRequest(decode('request', await request.arrayBuffer()))
    using deadline = new Deadline(clock, call.timeoutMs, request.signal)
    const response = await serve({ ...call, signal: deadline.signal })
    if (response.kind !== 'unary') throw new RpcError('unimplemented', `Cannot stream ${call.service}/${call.method}`)
    const { header, parts } = writePayload(response.payload)
    return new Response(encode('response', { ...header, metadata: response.metadata }, parts))
  } catch (thrown) {
    const error = RpcError.from(thrown)
    if (error.code === 'internal') log('error', 'call failed', { cause: String(error.cause ?? error) })
    return new Response(encode('response', writeResponseError(error), []))
  }
}

function encode(type: FrameType, header: Record<string, unknown>, parts: readonly Uint8Array[]): Bytes {
  const bytes = byteLengthOf(parts)
  if (bytes > LIMITS.maxMessageBytes) {
    throw new RpcError(
      'resource_exhausted',
      `Cannot send the ${type}: its body may have at most ${LIMITS.maxMessageBytes} bytes, got ${bytes}`,
      { neverSent: type === 'request' },
    )
  }
  const [message] = encodeFrame({ type, id: 1, header, parts }, Infinity)
  if (!message) throw new RpcError('internal', `Cannot send the ${type}: it must be one message, got none`)
  return message
}

function decode(type: FrameType, bytes: ArrayBuffer): Frame {
  const frame = new FrameReader(MAX_BYTES).read(new Uint8Array(bytes))
  if (frame?.type !== type) throw invalid(`Cannot read the frame: one whole ${type} was expected`)
  return frame
}

/** What Cloudflare says when an object cannot be called: it has too much to do, was replaced, or has crashed. */
function lost(cause: unknown): RpcError {
  if (cause instanceof RpcError) return cause
  const { overloaded, message } = (cause ?? {}) as { overloaded?: boolean; message?: string }
  if (overloaded) {
    return new RpcError('resource_exhausted', 'Cannot reach the relay: it has too much to do', {
      cause,
      retryAfterMs: 1000,
      neverSent: true,
    })
  }
  return new RpcError('unavailable', `Cannot reach the relay: ${message ?? 'the call failed'}`, { cause })
}
