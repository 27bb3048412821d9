import { DEFAULTS } from '../base/defaults.ts'
import type { Bytes } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { kindOf, show } from '../base/show.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import { encodeFrame, type Frame, type FrameType } from '../wire/frame.ts'
import { decodePayload, encodePayload, type Payload } from '../wire/payload.ts'
import { toPlain } from '../wire/plain.ts'
import { checkMetadata, type Metadata } from './metadata.ts'
import type { RpcRequest } from './send.ts'
import { continueTrace } from './trace.ts'

/** What a frame is made of beside its type and number. */
export interface FrameContent {
  header: Record<string, unknown>
  parts: readonly Uint8Array[]
}

/** Headers of request and response frames: what is left out takes the default that PROTOCOL.md gives. */
export function writeRequest(request: RpcRequest): FrameContent {
  return writePayload(request.payload, requestFields(request))
}

/** A request's header without its message. */
export function requestFields(request: RpcRequest): Record<string, unknown> {
  const fields: Record<string, unknown> = {
    service: request.service,
    method: request.method,
    timeoutMs: Math.max(1, Math.round(request.timeoutMs)),
    traceparent: request.traceparent,
  }
  if (request.version) fields.version = request.version
  if (request.group !== 'default') fields.group = request.group
  if (request.stream) fields.stream = true
  if (request.idempotent) fields.idempotent = true
  if (request.caller !== undefined) fields.caller = request.caller
  if (hasEntries(request.metadata)) fields.metadata = request.metadata
  return fields
}

/**
 * @param trustsCaller whether the sender may say on whose behalf it calls; else what it says of that is ignored
 * @throws RpcError `invalid_argument` if a field has the wrong type
 */
export function readRequest(frame: Frame, trustsCaller = false): Omit<RpcRequest, 'signal'> {
  const { header } = frame
  const timeoutMs = header.timeoutMs ?? DEFAULTS.callTimeoutMs
  if (typeof timeoutMs !== 'number' || !(timeoutMs > 0)) {
    throw invalid(`Cannot read the request: timeoutMs must be a number above 0, got ${show(timeoutMs)}`)
  }
  const request: Omit<RpcRequest, 'signal'> = {
    service: text(header, 'service'),
    method: text(header, 'method'),
    version: text(header, 'version', ''),
    group: text(header, 'group', 'default'),
    stream: header.stream === true,
    idempotent: header.idempotent === true,
    timeoutMs: Math.min(timeoutMs, LIMITS.maxTimeoutMs),
    traceparent: continueTrace(typeof header.traceparent === 'string' ? header.traceparent : undefined),
    metadata: checkMetadata(header.metadata),
    payload: readPayload(frame),
  }
  if (trustsCaller && header.caller !== undefined) request.caller = text(header, 'caller')
  return request
}

/** @param add the header's other members, which follow the payload's */
export function writePayload(payload: Payload, add?: Readonly<Record<string, unknown>>): FrameContent {
  if (payload.codec === 'value') return writePayload(encodePayload(payload.value, 'tensors'), add)
  return payload.codec === 'tensors'
    ? { header: { message: payload.structure, ...add }, parts: payload.parts }
    : { header: { codec: payload.codec, ...add }, parts: [payload.body] }
}

/** @throws RpcError `invalid_argument` */
export function readPayload(frame: Frame): Payload {
  const codec = frame.header.codec ?? 'tensors'
  if (codec === 'tensors') return { codec, structure: frame.header.message ?? null, parts: frame.parts }
  const [body, ...more] = frame.parts
  if ((codec !== 'json' && codec !== 'msgpack') || !body || more.length > 0) {
    const got = `${show(codec)} with ${frame.parts.length} parts`
    throw invalid(`Cannot read the frame: codec must be json or msgpack with one part, or tensors, got ${got}`)
  }
  return { codec, body: body as Bytes }
}

/** What the two ends of a link agree on. */
export interface MessageSizes {
  /** Of one message. */
  maxFrameBytes: number
  /** Of a body, in however many messages. */
  maxMessageBytes: number
}

/** Where messages are handed over within a process: the largest body in one, so that nobody puts pieces together. */
export const IN_PROCESS_SIZES: MessageSizes = {
  maxFrameBytes: LIMITS.maxTrainingBytes + 2 * LIMITS.maxHeaderBytes,
  maxMessageBytes: LIMITS.maxTrainingBytes,
}

/**
 * A structure too long for a frame's header travels as msgpack instead: in the body, where it may be as long as tensors.
 * @throws RpcError `resource_exhausted` if it does not fit there either
 */
export function encodeFitting(
  type: FrameType,
  id: number,
  payload: Payload,
  add: Record<string, unknown>,
  { maxFrameBytes, maxMessageBytes }: MessageSizes,
): Bytes[] {
  try {
    const { header, parts } = writePayload(payload, add)
    return encodeFrame({ type, id, header, parts }, maxFrameBytes, maxMessageBytes)
  } catch (thrown) {
    const isOpen = payload.codec === 'tensors' || payload.codec === 'value'
    if (!isOpen || !(thrown instanceof RpcError) || thrown.code !== 'resource_exhausted') throw thrown
    const { header, parts } = writePayload(encodePayload(decodePayload(payload), 'msgpack'), add)
    return encodeFrame({ type, id, header, parts }, maxFrameBytes, maxMessageBytes)
  }
}

/** An error as a header. Details that no frame can hold stay behind. */
export function writeResponseError(error: RpcError): { error: Record<string, unknown> } {
  const { code, details, retryAfterMs, neverSent } = error
  return {
    error: {
      code,
      // Cutting may halve a surrogate pair, and the text may quote one that was halved before.
      message: error.message.slice(0, LIMITS.maxErrorLength).toWellFormed(),
      details: details.length > 0 ? plainDetails(details) : undefined,
      retryAfterMs,
      neverSent: neverSent || undefined,
    },
  }
}

/** An error as a frame. Details too long for a header stay behind. */
export function encodeError(type: 'response' | 'end', id: number, error: RpcError): Bytes[] {
  const header = writeResponseError(error)
  try {
    return encodeFrame({ type, id, header, parts: [] })
  } catch {
    delete header.error.details
    return encodeFrame({ type, id, header, parts: [] })
  }
}

function plainDetails(details: readonly unknown[]): unknown {
  try {
    return toPlain(details.slice(0, LIMITS.maxErrorDetails), { name: 'an error', binary: true, tensor: () => null })
  } catch {
    return undefined
  }
}

export function readResponseError(header: Frame['header']): RpcError | undefined {
  if (header.error === undefined) return undefined
  const { retryAfterMs, neverSent } = (header.error ?? {}) as { retryAfterMs?: unknown; neverSent?: unknown }
  return RpcError.fromJson(header.error, {
    retryAfterMs: typeof retryAfterMs === 'number' && retryAfterMs >= 0 ? retryAfterMs : undefined,
    neverSent: neverSent === true,
  })
}

/** @throws RpcError `invalid_argument` unless it maps names to texts that HTTP could carry too */
export function readMetadata(value: unknown): Metadata {
  return checkMetadata(value)
}

function text(header: Frame['header'], key: string, otherwise?: string): string {
  const value = header[key] ?? otherwise
  if (typeof value !== 'string' || value.length > LIMITS.maxNameLength) {
    const got = typeof value === 'string' ? value.length : kindOf(value)
    throw invalid(
      `Cannot read the request: ${key} must be a text of at most ${LIMITS.maxNameLength} characters, got ${got}`,
    )
  }
  return value
}

function hasEntries(metadata: Metadata): boolean {
  for (const _ in metadata) return true
  return false
}
