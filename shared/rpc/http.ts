import { type Bytes, EMPTY, readAll } from '../base/bytes.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { isRange } from '../base/version.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import { decodePayload, encodePayload, type Payload } from '../wire/payload.ts'
import type { Metadata, RpcRequest, UnaryResponse } from './send.ts'
import { continueTrace } from './trace.ts'

/** Connect's unary conventions over HTTP: https://connectrpc.com/docs/protocol, with msgpack as a second codec. */
export const CONTENT_TYPES = { json: 'application/json', msgpack: 'application/msgpack' } as const

export type HttpCodec = keyof typeof CONTENT_TYPES

/** Reads `POST /rpc/{service}/{method}`. The body stays as it is. The caller adds the signal. */
export async function readHttpRequest(
  request: Request,
  service: string,
  method: string,
): Promise<Omit<RpcRequest, 'signal'>> {
  const { headers } = request
  const codec = codecOf(headers.get('content-type'))
  const version = headers.get('shoal-version') ?? ''
  if (version && !isRange(version)) {
    throw invalid(`Cannot call ${service}: shoal-version must be a semver range such as ^1.0.0, got "${version}"`)
  }
  return {
    service,
    method,
    version,
    group: headers.get('shoal-group') ?? 'default',
    stream: false,
    idempotent: headers.get('shoal-idempotent') === '1',
    timeoutMs: readTimeout(headers.get('connect-timeout-ms')),
    traceparent: continueTrace(headers.get('traceparent')),
    metadata: readMetadata(headers),
    payload: { codec, body: await readBody(request, codec === 'json' ? LIMITS.maxJsonBytes : LIMITS.maxMessageBytes) },
  }
}

/** Reads a request's body, refusing it as soon as it is seen to be too long. */
export async function readBody(request: Request, maxBytes: number): Promise<Bytes> {
  const tooLong = (got: string) =>
    new RpcError(
      'resource_exhausted',
      `Cannot read the request: its body may have at most ${maxBytes} bytes, got ${got}`,
      {
        details: [{ status: 413 }],
      },
    )
  const encoding = request.headers.get('content-encoding')
  if (encoding && encoding !== 'identity') {
    throw new RpcError('unimplemented', `Cannot read the request: content-encoding must be identity, got ${encoding}`, {
      details: [{ status: 415 }],
    })
  }
  const declared = request.headers.get('content-length')
  if (declared !== null && Number(declared) > maxBytes) throw tooLong(declared)
  // The runtime holds a body to its declared length, so one read is enough when there is one.
  if (declared !== null) return new Uint8Array(await request.arrayBuffer())
  const body = await readAll(request.body as ReadableStream<Uint8Array> | null, maxBytes)
  if (!body) throw tooLong('more')
  return body
}

export function toHttpResponse(response: UnaryResponse, codec: HttpCodec): Response {
  const payload = inCodec(response.payload, codec)
  return new Response(payload.body, { headers: { ...response.metadata, 'content-type': CONTENT_TYPES[codec] } })
}

export function toHttpError(thrown: unknown): Response {
  const error = RpcError.from(thrown)
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (error.retryAfterMs !== undefined) {
    headers['retry-after'] = String(Math.max(1, Math.ceil(error.retryAfterMs / 1000)))
  }
  if (error.code === 'unauthenticated') headers['www-authenticate'] = 'Bearer realm="shoal"'
  if (error.neverSent) headers['shoal-never-sent'] = '1'
  return new Response(JSON.stringify(error), { status: httpStatusOf(error), headers })
}

/** The status of an error: Connect's map, but for the few cases where HTTP has a word of its own (413, 415). */
export function httpStatusOf(error: RpcError): number {
  const [first] = error.details
  const own = typeof first === 'object' && first !== null && 'status' in first ? first.status : undefined
  return typeof own === 'number' ? own : error.httpStatus
}

/** A payload as bytes in the codec asked for; opaque ones pass through untouched. */
export function inCodec(payload: Payload, codec: HttpCodec): { codec: HttpCodec; body: Bytes } {
  if (payload.codec === codec) return payload
  return encodePayload(decodePayload(payload), codec) as { codec: HttpCodec; body: Bytes }
}

function codecOf(contentType: string | null): HttpCodec {
  const mime = (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase()
  if (mime === CONTENT_TYPES.json) return 'json'
  if (mime === CONTENT_TYPES.msgpack || mime === 'application/x-msgpack') return 'msgpack'
  throw new RpcError(
    'unimplemented',
    `Cannot read the request: content-type must be application/json or application/msgpack, got ${
      contentType ?? 'none'
    }`,
    { details: [{ status: 415 }] },
  )
}

export function readTimeout(header: string | null): number {
  if (header === null) return DEFAULTS.callTimeoutMs
  if (!/^\d{1,10}$/.test(header) || Number(header) === 0) {
    throw invalid(`Cannot read the request: connect-timeout-ms must be 1 to 10 digits above 0, got "${header}"`)
  }
  return Math.min(Number(header), LIMITS.maxTimeoutMs)
}

/** Headers that travel on with the call: those a user made for itself. Credentials never do. */
function readMetadata(headers: Headers): Metadata {
  let metadata: Record<string, string> | undefined
  for (const [name, value] of headers) {
    if (name.startsWith('x-') && !name.startsWith('x-forwarded-')) (metadata ??= {})[name] = value
  }
  return metadata ?? NONE
}

const NONE: Metadata = Object.freeze({})

/** Reads the answer of an HTTP call. @throws RpcError if it is an error, Shoal's or a proxy's */
export async function readHttpResponse(response: Response): Promise<UnaryResponse> {
  const declared = Number(response.headers.get('content-length') ?? 0)
  if (declared > LIMITS.maxJsonBytes) {
    throw new RpcError('internal', `Cannot read the answer: at most ${LIMITS.maxJsonBytes} bytes are accepted`)
  }
  if (response.ok) {
    const metadata: Record<string, string> = {}
    for (const [name, value] of response.headers) {
      if (name.startsWith('shoal-') || name.startsWith('x-') || name === 'server-timing') metadata[name] = value
    }
    const body = response.body ? new Uint8Array(await response.arrayBuffer()) : EMPTY
    return { kind: 'unary', metadata, payload: { codec: codecOf(response.headers.get('content-type')), body } }
  }
  throw await readHttpError(response)
}

/** The error that an HTTP answer stands for. */
export async function readHttpError(response: Response): Promise<RpcError> {
  const retryAfter = response.headers.get('retry-after')
  const options = {
    retryAfterMs: retryAfter && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined,
    neverSent: response.headers.get('shoal-never-sent') === '1',
  }
  const text = await response.text().catch(() => '')
  try {
    const json: unknown = JSON.parse(text)
    if (typeof json === 'object' && json !== null && 'code' in json) return RpcError.fromJson(json, options)
  } catch {
    // Not ours: the status says what it can.
  }
  const code = RpcError.codeOfStatus(response.status)
  return new RpcError(
    code,
    `Cannot finish the call: the server answered ${response.status} ${response.statusText}`.trim(),
    options,
  )
}
