import { type Bytes, decodeUtf8, EMPTY, readAll } from '../base/bytes.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { isRange } from '../base/version.ts'
import { invalid, isErrorCode, RpcError } from '../wire/errors.ts'
import { decodePayload, encodePayload, type Payload } from '../wire/payload.ts'
import { openEnvelope } from './envelope.ts'
import { httpStatusOf, readConnectDetails, withStatus, writeConnectError } from './http_error.ts'
import { type HeaderEntries, metadataOfRequest, metadataOfResponse } from './metadata.ts'
import type { RpcRequest, UnaryResponse } from './send.ts'
import { continueTrace } from './trace.ts'

export { httpStatusOf } from './http_error.ts'

/** Connect's unary conventions over HTTP: https://connectrpc.com/docs/protocol, with msgpack as a second codec. */
export const CONTENT_TYPES = { json: 'application/json', msgpack: 'application/msgpack' } as const

export type HttpCodec = keyof typeof CONTENT_TYPES

/** Content types as Shoal and most clients write them; `codecOf` reads the other ways there are. */
export const PLAIN_CODECS: ReadonlyMap<string | undefined, HttpCodec> = new Map([
  [CONTENT_TYPES.json, 'json'],
  [CONTENT_TYPES.msgpack, 'msgpack'],
])

/** The same codecs in a stream's envelopes. */
export const STREAM_TYPES = { json: 'application/connect+json', msgpack: 'application/connect+msgpack' } as const

/** What is read of a request or an answer: the web's Request and Response have it, and so has a runtime's own message. */
export interface HttpMessage {
  readonly headers: HeadersLike
  readonly body: ReadableStream<Uint8Array> | null
  arrayBuffer(): Promise<ArrayBuffer>
}

/** Names are lower case. */
export interface HeadersLike extends HeaderEntries {
  get(name: string): string | null
  has(name: string): boolean
}

/** An answer before it takes the form of a runtime: a Response, or one write to a socket. */
export interface HttpAnswer {
  status: number
  headers: Record<string, string>
  /** A stream is that of a server-streaming method; whoever cannot send it on must cancel it. */
  body: Bytes | string | ReadableStream<Uint8Array>
}

export function toResponse({ status, headers, body }: HttpAnswer): Response {
  return new Response(body, { status, headers })
}

/** Reads `POST /rpc/{service}/{method}`. The body stays as it is. The caller adds the signal. */
export async function readHttpRequest(
  request: HttpMessage,
  service: string,
  method: string,
  maxMessageBytes: number = LIMITS.maxMessageBytes,
): Promise<Omit<RpcRequest, 'signal'>> {
  const { call, payload, enveloped } = readHead(request.headers, service, method)
  const body = await readBody(request, payload.codec === 'json' ? LIMITS.maxJsonBytes : maxMessageBytes)
  payload.body = enveloped ? openEnvelope(body) : body
  return call
}

/** The request without its body. Apart, since whatever an async function holds is allocated anew for each of its calls. */
function readHead(headers: HeadersLike, service: string, method: string) {
  const contentType = headers.get('content-type')
  const plain = codecOf(contentType)
  const codec = plain ?? streamTypeOf(contentType)
  if (!codec) throw unsupported('content-type', 'application/json or application/msgpack', headers)
  const version = headers.get('shoal-version') ?? ''
  const group = headers.get('shoal-group') ?? 'default'
  requireShort('service', service)
  requireShort('method', method)
  requireShort('version', version)
  requireShort('group', group)
  if (version && !isRange(version)) {
    throw invalid(`Cannot call ${service}: shoal-version must be a semver range such as ^1.0.0, got "${version}"`)
  }
  const protocol = headers.get('connect-protocol-version')
  if (protocol !== null && protocol !== '1') {
    throw invalid(`Cannot read the request: connect-protocol-version must be 1, got "${protocol.slice(0, 80)}"`)
  }
  const payload = { codec, body: EMPTY }
  const call: Omit<RpcRequest, 'signal'> = {
    service,
    method,
    version,
    group,
    stream: plain === undefined || wantsEvents(headers),
    idempotent: headers.get('shoal-idempotent') === '1',
    timeoutMs: readTimeout(headers.get('connect-timeout-ms')),
    traceparent: continueTrace(headers.get('traceparent')),
    metadata: metadataOfRequest(headers),
    payload,
  }
  return { call, payload, enveloped: plain === undefined }
}

function requireShort(what: string, text: string): void {
  if (text.length <= LIMITS.maxNameLength) return
  throw invalid(
    `Cannot read the request: ${what} must be a text of at most ${LIMITS.maxNameLength} characters, got ${text.length}`,
  )
}

/**
 * Reads a request's body.
 * @throws RpcError `resource_exhausted` (413) as soon as it is seen to be too long, `unimplemented` (415) if compressed,
 *   `canceled` if the caller goes before all of it has come
 */
export async function readBody(request: HttpMessage, maxBytes: number): Promise<Bytes> {
  const { headers } = request
  const encoding = headers.get('content-encoding')
  if (encoding && encoding !== 'identity') throw unsupported('content-encoding', 'identity', headers)
  // A body that says so is left alone: to cancel it would cut the connection before the answer is out.
  if (Number(headers.get('content-length')) > maxBytes) throw tooLong(headers, maxBytes)
  let body: Bytes | undefined
  try {
    body = await readBounded(request, maxBytes)
  } catch (cause) {
    throw new RpcError('canceled', 'Cannot read the request: its body broke off', { cause })
  }
  if (body) return body
  throw tooLong(headers, maxBytes)
}

function tooLong(headers: HeadersLike, maxBytes: number): RpcError {
  const got = headers.get('content-length')?.slice(0, 20) ?? 'more'
  const reason = `Cannot read the request: its body may have at most ${maxBytes} bytes, got ${got}`
  return withStatus(413, new RpcError('resource_exhausted', reason))
}

/** @returns undefined if the body is longer than `maxBytes` */
function readBounded(message: HttpMessage, maxBytes: number): Promise<Bytes | undefined> {
  const { headers } = message
  const declared = Number(headers.get('content-length') ?? NaN)
  // The runtime holds a body to its declared length, so that one read is enough; once unpacked it may be any length.
  // First, and without a look at `body`: on Node that alone makes a stream, which costs more than all the rest.
  if (declared <= maxBytes && !headers.has('content-encoding')) {
    return message.arrayBuffer().then((body) => body.byteLength <= maxBytes ? new Uint8Array(body) : undefined)
  }
  if (!message.body) return Promise.resolve(EMPTY)
  if (declared <= maxBytes || Number.isNaN(declared)) return readAll(message.body, maxBytes)
  return message.body.cancel().then(() => undefined, () => undefined)
}

/** @throws RpcError `internal` if the answer is malformed and cannot be turned into `codec` */
export function answerOf(response: UnaryResponse, codec: HttpCodec): HttpAnswer {
  let body: Bytes
  try {
    body = inCodec(response.payload, codec).body
  } catch (cause) {
    throw new RpcError('internal', `Cannot send the answer: ${RpcError.from(cause).message}`, { cause })
  }
  return { status: 200, headers: { ...response.metadata, 'content-type': CONTENT_TYPES[codec] }, body }
}

export function answerOfError(thrown: unknown): HttpAnswer {
  const error = RpcError.from(thrown)
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (error.retryAfterMs !== undefined) {
    headers['retry-after'] = String(Math.max(1, Math.ceil(error.retryAfterMs / 1000)))
  }
  if (error.code === 'unauthenticated') headers['www-authenticate'] = 'Bearer realm="shoal"'
  if (error.neverSent) headers['shoal-never-sent'] = '1'
  if (error.attempts !== undefined) headers['shoal-attempts'] = error.attempts
  return { status: httpStatusOf(error), headers, body: JSON.stringify(writeConnectError(error)) }
}

/** A payload as bytes in the codec asked for; opaque ones pass through untouched. */
export function inCodec(payload: Payload, codec: HttpCodec): { codec: HttpCodec; body: Bytes } {
  if (payload.codec === codec) return payload
  return encodePayload(decodePayload(payload), codec) as { codec: HttpCodec; body: Bytes }
}

function codecOf(contentType: string | null): HttpCodec | undefined {
  const mime = (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase()
  if (mime === CONTENT_TYPES.json) return 'json'
  return mime === CONTENT_TYPES.msgpack || mime === 'application/x-msgpack' ? 'msgpack' : undefined
}

/** The codec of a stream in envelopes. */
export function streamTypeOf(contentType: string | null): HttpCodec | undefined {
  const mime = (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase()
  if (mime === STREAM_TYPES.json) return 'json'
  return mime === STREAM_TYPES.msgpack ? 'msgpack' : undefined
}

/** Whether a caller of a streaming method takes it as server-sent events: `curl -N -H 'accept: text/event-stream'`. */
export function wantsEvents(headers: HeadersLike): boolean {
  return headers.get('accept')?.includes('text/event-stream') ?? false
}

function unsupported(header: string, expected: string, headers: HeadersLike): RpcError {
  const got = headers.get(header)?.slice(0, 80) ?? 'none'
  return withStatus(
    415,
    new RpcError('unimplemented', `Cannot read the request: ${header} must be ${expected}, got ${got}`),
  )
}

export function readTimeout(header: string | null): number {
  if (header === null) return DEFAULTS.callTimeoutMs
  if (!/^\d{1,10}$/.test(header) || Number(header) === 0) {
    throw invalid(
      `Cannot read the request: connect-timeout-ms must be 1 to 10 digits above 0, got "${header.slice(0, 20)}"`,
    )
  }
  return Math.min(Number(header), LIMITS.maxTimeoutMs)
}

/** Reads the answer of an HTTP call. @throws RpcError if it is an error, Shoal's or a proxy's */
export async function readHttpResponse(
  response: Response,
  maxMessageBytes: number = LIMITS.maxMessageBytes,
): Promise<UnaryResponse> {
  if (!response.ok) throw await readHttpError(response)
  const codec = codecOf(response.headers.get('content-type'))
  if (!codec) {
    await response.body?.cancel().catch(() => {})
    const got = response.headers.get('content-type')?.slice(0, 80) ?? 'none'
    throw new RpcError('unknown', `Cannot read the answer: its content-type must be JSON or msgpack, got ${got}`)
  }
  const maxBytes = codec === 'json' ? LIMITS.maxJsonBytes : maxMessageBytes
  const body = await readBounded(response, maxBytes)
  if (!body) throw new RpcError('internal', `Cannot read the answer: it may have at most ${maxBytes} bytes`)
  return { kind: 'unary', metadata: metadataOfResponse(response.headers), payload: { codec, body } }
}

/** The error that an HTTP answer stands for: Shoal's own, or what its status says where a proxy answered. */
export async function readHttpError(response: Response): Promise<RpcError> {
  const retryAfter = response.headers.get('retry-after')
  const options = {
    retryAfterMs: retryAfter && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined,
    neverSent: response.headers.get('shoal-never-sent') === '1',
  }
  const code = RpcError.codeOfStatus(response.status)
  const json = await readErrorJson(response)
  if (json && typeof json.code === 'string') {
    const details = readConnectDetails(json.details)
    return RpcError.fromJson({ ...json, details, code: isErrorCode(json.code) ? json.code : code }, options)
  }
  // A problem (RFC 9457), as management routes answer: its title is the code.
  if (json && isErrorCode(json.title) && typeof json.detail === 'string') {
    return new RpcError(json.title, json.detail, options)
  }
  const reason = `Cannot finish the call: the server answered ${response.status} ${response.statusText}`.trim()
  return new RpcError(code, reason, options)
}

type ErrorBody = Partial<Record<'code' | 'details' | 'title' | 'detail', unknown>>

async function readErrorJson(response: Response): Promise<ErrorBody | undefined> {
  try {
    const body = await readBounded(response, LIMITS.maxControlBytes)
    const json: unknown = JSON.parse(decodeUtf8(body ?? EMPTY))
    return typeof json === 'object' && json !== null ? json : undefined
  } catch {
    // Not ours: the status says what it can.
    return undefined
  }
}
