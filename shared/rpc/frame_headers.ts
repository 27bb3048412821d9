import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import type { Frame } from '../wire/frame.ts'
import { encodePayload, type Payload } from '../wire/payload.ts'
import { continueTrace } from './trace.ts'
import type { Metadata, RpcRequest } from './send.ts'

/** Headers of request and response frames: what is left out takes the default that PROTOCOL.md gives. */
export function writeRequest(request: RpcRequest): { header: Record<string, unknown>; parts: readonly Uint8Array[] } {
  const { header, parts } = writePayload(request.payload)
  header.service = request.service
  header.method = request.method
  header.timeoutMs = Math.max(1, Math.round(request.timeoutMs))
  header.traceparent = request.traceparent
  if (request.version) header.version = request.version
  if (request.group !== 'default') header.group = request.group
  if (request.stream) header.stream = true
  if (request.idempotent) header.idempotent = true
  if (hasEntries(request.metadata)) header.metadata = request.metadata
  return { header, parts }
}

/** @throws RpcError `invalid_argument` if a field has the wrong type */
export function readRequest(frame: Frame): Omit<RpcRequest, 'signal'> {
  const { header } = frame
  const timeoutMs = header.timeoutMs ?? DEFAULTS.callTimeoutMs
  if (typeof timeoutMs !== 'number' || !(timeoutMs > 0)) {
    throw invalid(`Cannot read the request: timeoutMs must be above 0, got ${timeoutMs}`)
  }
  return {
    service: text(header, 'service'),
    method: text(header, 'method'),
    version: text(header, 'version', ''),
    group: text(header, 'group', 'default'),
    stream: header.stream === true,
    idempotent: header.idempotent === true,
    timeoutMs: Math.min(timeoutMs, LIMITS.maxTimeoutMs),
    traceparent: continueTrace(text(header, 'traceparent', '')),
    metadata: readMetadata(header.metadata),
    payload: readPayload(frame),
  }
}

export function writePayload(payload: Payload): { header: Record<string, unknown>; parts: readonly Uint8Array[] } {
  if (payload.codec === 'value') return writePayload(encodePayload(payload.value, 'tensors'))
  return payload.codec === 'tensors'
    ? { header: { message: payload.structure }, parts: payload.parts }
    : { header: { codec: payload.codec }, parts: [payload.body] }
}

export function readPayload(frame: Frame): Payload {
  const codec = frame.header.codec ?? 'tensors'
  if (codec === 'tensors') return { codec, structure: frame.header.message, parts: frame.parts }
  const [body] = frame.parts
  if ((codec !== 'json' && codec !== 'msgpack') || !body) {
    throw invalid(`Cannot read the frame: codec must be json or msgpack with one part, got ${codec}`)
  }
  return { codec, body: body as Uint8Array<ArrayBuffer> }
}

export function writeResponseError(error: RpcError): Record<string, unknown> {
  return { error: { ...error.toJSON(), retryAfterMs: error.retryAfterMs, neverSent: error.neverSent || undefined } }
}

export function readResponseError(header: Frame['header']): RpcError | undefined {
  if (header.error === undefined) return undefined
  const { retryAfterMs, neverSent } = (header.error ?? {}) as { retryAfterMs?: unknown; neverSent?: unknown }
  return RpcError.fromJson(header.error, {
    retryAfterMs: typeof retryAfterMs === 'number' ? retryAfterMs : undefined,
    neverSent: neverSent === true,
  })
}

/** @throws RpcError `invalid_argument` unless every value is a text */
export function readMetadata(value: unknown): Metadata {
  if (value === undefined) return {}
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : undefined
  if (!entries?.every(([, entry]) => typeof entry === 'string')) {
    throw invalid('Cannot read the request: metadata must map names to texts')
  }
  return value as Metadata
}

function text(header: Frame['header'], key: string, otherwise?: string): string {
  const value = header[key] ?? otherwise
  if (typeof value !== 'string' || value.length > LIMITS.maxNameLength) {
    throw invalid(`Cannot read the request: ${key} must be a text of at most ${LIMITS.maxNameLength} characters`)
  }
  return value
}

function hasEntries(metadata: Metadata): boolean {
  for (const _ in metadata) return true
  return false
}
