import { show, showForeign } from '../../base/show.ts'
import { invalid, RpcError } from '../../wire/errors.ts'
import { abortError } from '../deadline.ts'
import { sealEnvelope } from '../envelope.ts'
import { CONTENT_TYPES, type HttpCodec, inCodec, readHttpResponse, STREAM_TYPES } from '../http.ts'
import { readStreamAnswer } from '../http_stream.ts'
import type { Payload } from '../../wire/payload.ts'
import type { RpcRequest, RpcResponse, Send, Transport, UnaryResponse } from '../send.ts'

export interface FetchOptions {
  codec?: HttpCodec
  /** Sent with every call: credentials, for example. */
  headers?: Readonly<Record<string, string>>
  /** Bytes of an answer's body; LIMITS.maxMessageBytes by default. */
  maxMessageBytes?: number
  /** `globalThis.fetch` by default; a service binding or a test may stand in. */
  fetch?: (request: Request) => Promise<Response>
}

/**
 * Calls over plain HTTP: `POST {base}/rpc/{service}/{method}`. Redirects are not followed.
 * @throws RpcError `invalid_argument` if `base` is no absolute URL
 */
export function fetchTransport(base: string, options: FetchOptions = {}): Transport {
  return { send: fetchSend(base, options), codec: options.codec ?? 'msgpack', close() {} }
}

function fetchSend(base: string, options: FetchOptions): Send {
  if (!URL.canParse(base)) throw invalid(`Cannot call over HTTP: expected an absolute URL, got "${base}"`)
  const root = base.replace(/\/+$/, '')
  const send = options.fetch ?? ((request: Request) => globalThis.fetch(request))
  return async (request) => {
    const outgoing = toHttpRequest(root, request, options)
    try {
      const response = await send(outgoing)
      if (!request.stream) return await readAnswer(response, request.service, root, options.maxMessageBytes)
      refuseRedirect(response, request.service, root)
      return aborting(await readStreamAnswer(response), request, root)
    } catch (thrown) {
      if (request.signal.aborted) throw abortError(request.signal.reason)
      throw thrown instanceof RpcError ? thrown : unreachable(root, thrown)
    }
  }
}

/** A stream whose failure on the way reads as that of a call does. */
function aborting(response: RpcResponse, request: RpcRequest, root: string): RpcResponse {
  return response.kind === 'stream' ? { ...response, payloads: explained(response.payloads, request, root) } : response
}

async function* explained(
  payloads: AsyncIterable<Payload>,
  { signal }: RpcRequest,
  root: string,
): AsyncGenerator<Payload> {
  try {
    yield* payloads
  } catch (thrown) {
    if (signal.aborted) throw abortError(signal.reason)
    throw thrown instanceof RpcError ? thrown : unreachable(root, thrown)
  }
}

/** Reads an answer to a call. @throws RpcError if it is an error, or a redirect */
export async function readAnswer(
  response: Response,
  service: string,
  root: string,
  maxMessageBytes?: number,
): Promise<UnaryResponse> {
  refuseRedirect(response, service, root)
  return await readHttpResponse(response, maxMessageBytes)
}

function refuseRedirect(response: Response, service: string, root: string): void {
  // In browsers a redirect that is not followed shows neither its status nor its target.
  if (response.type === 'opaqueredirect' || (response.status >= 300 && response.status < 400)) {
    throw new RpcError(
      'unavailable',
      `Cannot call ${service}: ${root} answered with a redirect, which is not followed`,
    )
  }
}

function toHttpRequest(root: string, request: RpcRequest, options: FetchOptions): Request {
  const codec: HttpCodec = request.payload.codec === 'json' ? 'json' : options.codec ?? 'msgpack'
  const { body } = inCodec(request.payload, codec)
  const types = request.stream ? STREAM_TYPES : CONTENT_TYPES
  try {
    return new Request(root + pathOf(request), {
      method: 'POST',
      headers: { ...options.headers, ...headersOf(request), 'content-type': types[codec] },
      body: request.stream ? sealEnvelope({ flags: 0, data: body }) : body,
      signal: request.signal,
      redirect: 'manual',
    })
  } catch (cause) {
    if (cause instanceof RpcError) throw cause
    const why = whyNoRequest(root, { ...options.headers, ...headersOf(request) }, cause)
    throw invalid(`Cannot call ${request.service}: ${why}`, { cause })
  }
}

/** What a header's value may be made of. */
const IN_HEADER = /^[\t -~\u0080-\u00ff]$/

/** What is wrong with a request that could not be made. A value may be secret: where it goes wrong is said alone. */
function whyNoRequest(root: string, headers: Readonly<Record<string, string>>, cause: unknown): string {
  for (const [name, value] of Object.entries(headers)) {
    try {
      new Headers([[name, value]])
    } catch {
      const got = showForeign(value, IN_HEADER)
      return `the header ${show(name)} must have a name and a value that HTTP carries, got ${got}`
    }
  }
  const { username, password } = new URL(root)
  if (username || password) return 'its address must have no user and no password, got one with either'
  return `the request must be one that HTTP carries, got ${(cause as Error).message.slice(0, 160)}`
}

/** Where a call goes, below the address of whoever serves it. */
export function pathOf({ service, method }: RpcRequest): string {
  try {
    return `/rpc/${encodeURIComponent(service)}/${encodeURIComponent(method)}`
  } catch (cause) {
    const got = JSON.stringify(`${service}/${method}`.slice(0, 80))
    throw invalid(`Cannot call the service: its name and its method's must be well-formed Unicode, got ${got}`, {
      cause,
    })
  }
}

/** A call's headers, without that of its body. */
export function headersOf(request: RpcRequest): Record<string, string> {
  const headers: Record<string, string> = {
    ...request.metadata,
    'connect-protocol-version': '1',
    'connect-timeout-ms': String(Math.max(1, Math.round(request.timeoutMs))),
    traceparent: request.traceparent,
  }
  if (request.version) headers['shoal-version'] = request.version
  if (request.group !== 'default') headers['shoal-group'] = request.group
  if (request.idempotent) headers['shoal-idempotent'] = '1'
  if (request.caller !== undefined) headers['shoal-caller'] = request.caller
  // Who calls is said by whoever let them in, and not by themselves.
  else if ('shoal-caller' in headers) delete headers['shoal-caller']
  return headers
}

/** Connection failures that strike before a byte of the request can have been read by anyone. */
const REFUSED = /ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|ENETUNREACH|Connection refused|dns error/i

function unreachable(root: string, cause: unknown): RpcError {
  const inner = (cause as { cause?: unknown })?.cause
  const reason = [cause, inner].map((error) =>
    error instanceof Error ? `${error.message} ${(error as { code?: string }).code ?? ''}` : ''
  ).join(' ')
  return new RpcError('unavailable', `Cannot reach ${root}: ${reason.trim() || 'the connection failed'}`, {
    cause,
    neverSent: REFUSED.test(reason),
    unanswered: true,
  })
}
