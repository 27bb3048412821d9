import { alignUp, type Bytes, concat } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { decodeHeader, encode } from './codec.ts'
import { invalid } from './errors.ts'

/** Frames of the `shoal.v1` socket protocol. The layout and its rules are in PROTOCOL.md. */
export const FRAME_TYPES = {
  request: 1,
  response: 2,
  chunk: 3,
  end: 4,
  cancel: 5,
  hello: 6,
  welcome: 7,
  goodbye: 8,
} as const

export type FrameType = keyof typeof FRAME_TYPES

export interface Frame {
  type: FrameType
  /** Names a call; chosen by the side that made it. 0 where no call is meant. */
  id: number
  header: Readonly<Record<string, unknown>>
  /** The body's parts; each starts at a multiple of 8 in the body. */
  parts: readonly Uint8Array[]
}

/** Pings are text, so that a hibernating relay's runtime answers them without waking it. */
export const PING = 'ping'
export const PONG = 'pong'

const MAGIC = 0x53
const VERSION = 1
const PREFIX_BYTES = 12
const MORE = 1

const NAME_OF_TYPE: readonly (FrameType | undefined)[] = Object.entries(FRAME_TYPES).reduce(
  (names, [name, code]) => {
    names[code] = name as FrameType
    return names
  },
  [] as FrameType[],
)

/** Encodes a frame as one message, or as several of at most `maxBytes` when its body is larger. */
export function encodeFrame(frame: Frame, maxBytes: number = LIMITS.maxFrameBytes): Bytes[] {
  const header = encode(
    frame.parts.length === 0 ? frame.header : { ...frame.header, parts: frame.parts.map((part) => part.byteLength) },
  )
  const bodyAt = alignUp(PREFIX_BYTES + header.byteLength, 8)
  const bodyBytes = alignedBytes(frame.parts)
  if (bodyAt + bodyBytes <= maxBytes) {
    const message = new Uint8Array(bodyAt + bodyBytes)
    writePrefix(message, frame, 0, header.byteLength)
    message.set(header, PREFIX_BYTES)
    let offset = bodyAt
    for (const part of frame.parts) {
      message.set(part, offset)
      offset += alignUp(part.byteLength, 8)
    }
    return [message]
  }
  return encodeFragments(frame, header, maxBytes)
}

function encodeFragments(frame: Frame, header: Bytes, maxBytes: number): Bytes[] {
  const body = new Uint8Array(alignedBytes(frame.parts))
  let offset = 0
  for (const part of frame.parts) {
    body.set(part, offset)
    offset += alignUp(part.byteLength, 8)
  }
  const messages: Bytes[] = []
  const firstBodyAt = alignUp(PREFIX_BYTES + header.byteLength, 8)
  for (let from = 0; from < body.byteLength;) {
    const head = messages.length === 0 ? header : NO_HEADER
    const bodyAt = messages.length === 0 ? firstBodyAt : alignUp(PREFIX_BYTES, 8)
    const take = Math.min(body.byteLength - from, maxBytes - bodyAt)
    const message = new Uint8Array(bodyAt + take)
    writePrefix(message, frame, from + take < body.byteLength ? MORE : 0, head.byteLength)
    message.set(head, PREFIX_BYTES)
    message.set(body.subarray(from, from + take), bodyAt)
    messages.push(message)
    from += take
  }
  return messages
}

const NO_HEADER = new Uint8Array(0)

function writePrefix(message: Uint8Array, frame: Frame, flags: number, headerBytes: number): void {
  message[0] = MAGIC
  message[1] = VERSION
  message[2] = FRAME_TYPES[frame.type]
  message[3] = flags
  const view = new DataView(message.buffer, message.byteOffset, PREFIX_BYTES)
  view.setUint32(4, frame.id, true)
  view.setUint32(8, headerBytes, true)
}

function alignedBytes(parts: readonly Uint8Array[]): number {
  return parts.reduce((total, part) => total + alignUp(part.byteLength, 8), 0)
}

interface Partial {
  type: FrameType
  header: Record<string, unknown>
  body: Uint8Array[]
  bytes: number
}

/** Puts the frames of one socket together again. Holds at most one unfinished frame per call, each within its cap. */
export class FrameReader {
  readonly #partial = new Map<string, Partial>()
  readonly #maxBytes: number
  #heldBytes = 0

  /** @param maxBytes of one message: those of a socket's frames, unless something else carries them */
  constructor(maxBytes: number = LIMITS.maxFrameBytes) {
    this.#maxBytes = maxBytes
  }

  /**
   * Reads one message.
   * @returns the frame it completes, or undefined if more of it is to come
   * @throws RpcError `invalid_argument` if it breaks the protocol; the socket must then be closed
   */
  read(message: Uint8Array): Frame | undefined {
    if (message.byteLength > this.#maxBytes) {
      throw refuse(`a frame may have at most ${this.#maxBytes} bytes, got ${message.byteLength}`)
    }
    if (message.byteLength < PREFIX_BYTES) {
      throw refuse(`expected at least ${PREFIX_BYTES} bytes, got ${message.byteLength}`)
    }
    if (message[0] !== MAGIC || message[1] !== VERSION) throw refuse('expected a shoal.v1 frame')
    const type = NAME_OF_TYPE[message[2] ?? 0]
    if (!type) throw refuse(`unknown type ${message[2]}`)
    const view = new DataView(message.buffer, message.byteOffset, PREFIX_BYTES)
    const id = view.getUint32(4, true)
    const headerBytes = view.getUint32(8, true)
    const bodyAt = alignUp(PREFIX_BYTES + headerBytes, 8)
    if (headerBytes > LIMITS.maxHeaderBytes || PREFIX_BYTES + headerBytes > message.byteLength) {
      throw refuse(`a header of ${headerBytes} bytes does not fit`)
    }
    const more = ((message[3] ?? 0) & MORE) !== 0
    const header = headerBytes === 0
      ? undefined
      : readHeader(message.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes))
    const body = message.subarray(Math.min(bodyAt, message.byteLength))
    const key = `${type} ${id}`
    const started = this.#partial.get(key)
    if (!started && !more) return complete(type, id, header ?? {}, body)
    return this.#assemble(key, started, { type, id, header, body, more })
  }

  /** Forgets what has come of a call, when it was cancelled. */
  drop(type: FrameType, id: number): void {
    this.#forget(`${type} ${id}`)
  }

  #assemble(
    key: string,
    started: Partial | undefined,
    next: { type: FrameType; id: number; header: Record<string, unknown> | undefined; body: Uint8Array; more: boolean },
  ): Frame | undefined {
    if (started && next.header) throw refuse(`call ${next.id} was started twice`)
    const partial = started ?? { type: next.type, header: next.header ?? {}, body: [], bytes: 0 }
    partial.body.push(next.body)
    partial.bytes += next.body.byteLength
    this.#heldBytes += next.body.byteLength
    this.#partial.set(key, partial)
    if (partial.bytes > LIMITS.maxMessageBytes || this.#heldBytes > 4 * LIMITS.maxMessageBytes) {
      throw refuse(`a call's body may have at most ${LIMITS.maxMessageBytes} bytes`)
    }
    if (next.more) return undefined
    this.#forget(key)
    return complete(next.type, next.id, partial.header, concat(partial.body))
  }

  #forget(key: string): void {
    this.#heldBytes -= this.#partial.get(key)?.bytes ?? 0
    this.#partial.delete(key)
  }
}

function readHeader(bytes: Uint8Array): Record<string, unknown> {
  const header = decodeHeader(bytes)
  if (typeof header !== 'object' || header === null || Array.isArray(header)) throw refuse('a header must be a map')
  return header as Record<string, unknown>
}

function complete(type: FrameType, id: number, header: Record<string, unknown>, body: Uint8Array): Frame {
  const sizes = header.parts
  if (sizes === undefined) {
    if (body.byteLength > 0) throw refuse('a body needs the header "parts"')
    return { type, id, header, parts: [] }
  }
  if (!Array.isArray(sizes)) throw refuse('header "parts" must be a list of sizes')
  const parts: Uint8Array[] = []
  let offset = 0
  for (const size of sizes) {
    if (!Number.isSafeInteger(size) || size < 0 || offset + size > body.byteLength) {
      throw refuse(`part ${parts.length} of ${size} bytes does not fit a body of ${body.byteLength}`)
    }
    parts.push(body.subarray(offset, offset + size))
    offset = alignUp(offset + size, 8)
  }
  if (offset !== body.byteLength) throw refuse(`parts cover ${offset} bytes of a body of ${body.byteLength}`)
  return { type, id, header, parts }
}

function refuse(reason: string) {
  return invalid(`Cannot read the frame: ${reason}`)
}
