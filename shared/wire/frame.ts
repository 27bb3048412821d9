import { alignUp, type Bytes } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { encodeHeader } from './codec.ts'
import { RpcError } from './errors.ts'
import { type Frame, FRAME_TYPES, MAGIC, MORE, PREFIX_BYTES, VERSION } from './frame_layout.ts'
import { NOT_WRITTEN, writePlain } from './msgpack_writer.ts'

export { type Frame, FRAME_TYPES, type FrameType, PING, PONG } from './frame_layout.ts'
export { FrameReader, type ReceivedFrame } from './frame_reader.ts'

/** Where a fragment's body begins when it carries no header. */
const BARE_BODY_AT = alignUp(PREFIX_BYTES, 8)

/**
 * Encodes a frame as one message, or as several of at most `maxBytes` when its body is larger. The body is copied once,
 * into the messages, which are the caller's own; but short ones share an ArrayBuffer and cannot be transferred.
 * @param maxBodyBytes what the receiver is known to take
 * @throws RpcError `resource_exhausted` if header or body exceed what a receiver takes
 */
export function encodeFrame(
  frame: Frame,
  maxBytes: number = LIMITS.maxFrameBytes,
  maxBodyBytes: number = LIMITS.maxMessageBytes,
): Bytes[] {
  const { parts } = frame
  if (parts.length === 0) {
    const short = encodeShort(frame, maxBytes)
    if (short) return [short]
  }
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
    writePrefix(message, 0, frame, sent < bodyBytes ? MORE : 0, isFirst ? header.byteLength : 0)
    messages.push(message)
  } while (sent < bodyBytes)
  return messages
}

/** Memory that short messages are cut from, one after the other. None of it is used twice. */
let slab = new Uint8Array(0)
let slabUsed = 0
const SLAB_BYTES = 16 * 1024
/** A longer message has memory of its own: else few would fit, or keep much more than themselves alive. */
const SHORT_BYTES = 1024

/**
 * A frame without a body whose header is short and plain: nearly all calls that carry no tensors. To cut its message from a
 * larger buffer and write the header where it stays takes 0.4 µs less than a buffer of its own that it is copied to.
 * @returns undefined for any other
 */
function encodeShort(frame: Frame, maxBytes: number): Bytes | undefined {
  if (slab.length - slabUsed < SHORT_BYTES) {
    slab = new Uint8Array(SLAB_BYTES)
    slabUsed = 0
  }
  const start = slabUsed
  const headerAt = start + PREFIX_BYTES
  const end = writePlain(slab, headerAt, frame.header, LIMITS.maxDepth)
  const bytes = alignUp(end - start, 8)
  if (end === NOT_WRITTEN || bytes > SHORT_BYTES || bytes >= maxBytes) return undefined
  // One that was given up may have been here before.
  slab.fill(0, end, start + bytes)
  slabUsed = start + bytes
  writePrefix(slab, start, frame, 0, end - headerAt)
  return slab.subarray(start, slabUsed)
}

function writePrefix(target: Uint8Array, at: number, frame: Frame, flags: number, headerBytes: number): void {
  target[at] = MAGIC
  target[at + 1] = VERSION
  target[at + 2] = FRAME_TYPES[frame.type]
  target[at + 3] = flags
  writeUint32(target, at + 4, frame.id)
  writeUint32(target, at + 8, headerBytes)
}

/** Little-endian, as all of a prefix. A DataView for two numbers would cost more than they do. */
function writeUint32(target: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 4; i++) target[at + i] = value >>> (8 * i)
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
