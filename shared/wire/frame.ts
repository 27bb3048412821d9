import { alignUp, type Bytes } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { encodeHeader } from './codec.ts'
import { RpcError } from './errors.ts'
import { type Frame, FRAME_TYPES, MAGIC, MORE, PREFIX_BYTES, VERSION } from './frame_layout.ts'

export { type Frame, FRAME_TYPES, type FrameType, PING, PONG } from './frame_layout.ts'
export { FrameReader, type ReceivedFrame } from './frame_reader.ts'

/** Where a fragment's body begins when it carries no header. */
const BARE_BODY_AT = alignUp(PREFIX_BYTES, 8)

/**
 * Encodes a frame as one message, or as several of at most `maxBytes` when its body is larger. The body is copied once,
 * into the messages, which are the caller's own: they may be transferred.
 * @param maxBodyBytes what the receiver is known to take
 * @throws RpcError `resource_exhausted` if header or body exceed what a receiver takes
 */
export function encodeFrame(
  frame: Frame,
  maxBytes: number = LIMITS.maxFrameBytes,
  maxBodyBytes: number = LIMITS.maxMessageBytes,
): Bytes[] {
  const { parts } = frame
  const header = encodeHeader(
    parts.length === 0 ? frame.header : { ...frame.header, parts: parts.map((part) => part.byteLength) },
  )
  const bodyBytes = alignedBytes(parts)
  const headedBodyAt = alignUp(PREFIX_BYTES + header.byteLength, 8)
  if (header.byteLength > LIMITS.maxHeaderBytes || headedBodyAt >= maxBytes) {
    throw tooLong('header', LIMITS.maxHeaderBytes, header.byteLength)
  }
  if (bodyBytes > maxBodyBytes) throw tooLong('body', maxBodyBytes, bodyBytes)

  const messages: Bytes[] = []
  let sent = 0
  do {
    const isFirst = messages.length === 0
    const bodyAt = isFirst ? headedBodyAt : BARE_BODY_AT
    const message = new Uint8Array(Math.min(bodyAt + bodyBytes - sent, maxBytes))
    if (isFirst) message.set(header, PREFIX_BYTES)
    if (bodyBytes > 0) copyBody(parts, sent, message.subarray(bodyAt))
    sent += message.byteLength - bodyAt
    writePrefix(message, frame, sent < bodyBytes ? MORE : 0, isFirst ? header.byteLength : 0)
    messages.push(message)
  } while (sent < bodyBytes)
  return messages
}

function writePrefix(message: Uint8Array, frame: Frame, flags: number, headerBytes: number): void {
  message[0] = MAGIC
  message[1] = VERSION
  message[2] = FRAME_TYPES[frame.type]
  message[3] = flags
  writeUint32(message, 4, frame.id)
  writeUint32(message, 8, headerBytes)
}

/** Little-endian, as all of a prefix. A DataView for two numbers would cost more than they do. */
function writeUint32(message: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 4; i++) message[at + i] = value >>> (8 * i)
}

/** Copies to `target` what the body of `parts`, each padded to a multiple of 8, holds from byte `from` on. */
function copyBody(parts: readonly Uint8Array[], from: number, target: Uint8Array): void {
  let partAt = -from
  for (const part of parts) {
    if (partAt >= target.byteLength) return
    const skipped = Math.max(0, -partAt)
    const at = Math.max(0, partAt)
    if (skipped < part.byteLength) target.set(part.subarray(skipped, skipped + target.byteLength - at), at)
    partAt += alignUp(part.byteLength, 8)
  }
}

function alignedBytes(parts: readonly Uint8Array[]): number {
  let total = 0
  for (const part of parts) total += alignUp(part.byteLength, 8)
  return total
}

function tooLong(what: string, maxBytes: number, got: number) {
  return new RpcError('resource_exhausted', `Cannot send: a ${what} may have at most ${maxBytes} bytes, got ${got}`)
}
