import { alignUp, concat, EMPTY } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { kindOf, show } from '../base/show.ts'
import { decodeHeader } from './codec.ts'
import { invalid } from './errors.ts'
import { type Frame, FRAME_TYPES, type FrameType, MAGIC, MORE, PREFIX_BYTES, VERSION } from './frame_layout.ts'

export interface ReceivedFrame extends Frame {
  /** Bytes of the messages that brought it. */
  bytes: number
}

interface FrameKind {
  type: FrameType
  /** Has a body, and may come in fragments. */
  hasBody: boolean
  /** Is about a call and names it. */
  hasId: boolean
}

const WITH_BODY: readonly FrameType[] = ['request', 'response', 'chunk']
const WITHOUT_ID: readonly FrameType[] = ['hello', 'welcome', 'goodbye']
const KINDS: readonly (FrameKind | undefined)[] = (() => {
  const kinds: FrameKind[] = []
  for (const [type, code] of Object.entries(FRAME_TYPES) as [FrameType, number][]) {
    kinds[code] = { type, hasBody: WITH_BODY.includes(type), hasId: !WITHOUT_ID.includes(type) }
  }
  return kinds
})()

/** What holding one fragment costs beside its bytes: many tiny ones must not be free. */
const FRAGMENT_OVERHEAD_BYTES = 256

interface Unfinished {
  header: Uint8Array
  /** Undefined once nobody waits for the frame: its remaining fragments are let go as they come. */
  body: Uint8Array[] | undefined
  bodyBytes: number
  /** Of all its messages. */
  bytes: number
  /** Counted against the socket's cap. */
  heldBytes: number
}

/** Puts the frames of one socket together again. What it holds of unfinished ones is bounded in number and bytes. */
export class FrameReader {
  readonly #unfinished = new Map<number, Unfinished>()
  readonly #maxBytes: number
  readonly #maxBodyBytes: number
  #heldBytes = 0

  /**
   * @param maxBytes of one message: those of a socket's frames, unless something else carries them
   * @param maxBodyBytes of one frame's fragments; all unfinished frames together may hold two such bodies
   */
  constructor(maxBytes: number = LIMITS.maxFrameBytes, maxBodyBytes: number = LIMITS.maxMessageBytes) {
    this.#maxBytes = maxBytes
    this.#maxBodyBytes = maxBodyBytes
  }

  /** Bytes held of frames whose last fragment has not come. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  /**
   * Reads one message. Header and parts are views of it where the frame came in one piece.
   * @returns the frame it completes, or undefined if more of it is to come
   * @throws RpcError `invalid_argument` if it breaks the protocol; the socket must then be closed
   */
  read(message: Uint8Array): ReceivedFrame | undefined {
    const size = message.byteLength
    if (size > this.#maxBytes) throw refuse(`a frame may have at most ${this.#maxBytes} bytes, got ${size}`)
    if (size < PREFIX_BYTES) throw refuse(`expected at least ${PREFIX_BYTES} bytes, got ${size}`)
    if (message[0] !== MAGIC || message[1] !== VERSION) {
      const got = Array.from(message.subarray(0, 2), (byte) => byte.toString(16).padStart(2, '0')).join(' ')
      throw refuse(`expected a shoal.v1 frame, got one that begins with ${got}`)
    }
    const code = message[2] ?? 0
    const kind = KINDS[code]
    if (!kind) throw refuse(`unknown type ${code}`)
    const flags = message[3] ?? 0
    if (flags > MORE) throw refuse(`unknown flags ${flags}`)
    const id = readUint32(message, 4)
    if ((id !== 0) !== kind.hasId) {
      throw refuse(`a ${kind.type} frame must ${kind.hasId ? '' : 'not '}name a call, got id ${id}`)
    }
    const headerBytes = readUint32(message, 8)
    if (headerBytes > LIMITS.maxHeaderBytes || PREFIX_BYTES + headerBytes > size) {
      throw refuse(
        `a header may have at most ${LIMITS.maxHeaderBytes} bytes and must fit its message of ${size}, got ${headerBytes}`,
      )
    }
    const header = message.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes)
    const bodyAt = alignUp(PREFIX_BYTES + headerBytes, 8)
    const body = bodyAt < size ? message.subarray(bodyAt) : EMPTY
    const isLast = flags !== MORE
    if (!kind.hasBody && (!isLast || body.byteLength > 0)) {
      const got = isLast ? `${body.byteLength} bytes` : 'a fragment'
      throw refuse(`a ${kind.type} frame has no body, got ${got}`)
    }

    const key = keyOf(code, id)
    const unfinished = this.#unfinished.size > 0 ? this.#unfinished.get(key) : undefined
    if (!unfinished && headerBytes === 0) throw refuse(`a fragment of ${kind.type} ${id} without its beginning`)
    if (unfinished && headerBytes > 0) throw refuse(`${kind.type} ${id} begins a second time`)
    if (!unfinished && isLast) return complete(kind.type, id, header, body, size)
    const whole = unfinished ?? this.#begin(key, header)
    this.#append(whole, body, size)
    if (!isLast) return undefined
    this.#forget(key, whole)
    // Nobody waits for it; what it was is still told, so that it can be counted.
    if (!whole.body) return { type: kind.type, id, header: {}, parts: [], bytes: whole.bytes }
    return complete(kind.type, id, whole.header, concat(whole.body), whole.bytes)
  }

  /** Lets go of what has come of a frame that nobody waits for any more. Its remaining fragments may still come. */
  discard(type: FrameType, id: number): void {
    const unfinished = this.#unfinished.get(keyOf(FRAME_TYPES[type], id))
    if (!unfinished) return
    this.#heldBytes -= unfinished.heldBytes
    unfinished.heldBytes = 0
    unfinished.body = undefined
  }

  /** Forgets an unfinished frame of which no more will come. */
  abandon(type: FrameType, id: number): void {
    const key = keyOf(FRAME_TYPES[type], id)
    const unfinished = this.#unfinished.get(key)
    if (unfinished) this.#forget(key, unfinished)
  }

  /** Lets go of everything. */
  clear(): void {
    this.#unfinished.clear()
    this.#heldBytes = 0
  }

  #begin(key: number, header: Uint8Array): Unfinished {
    if (this.#unfinished.size >= LIMITS.maxUnfinishedFrames) {
      throw refuse(`at most ${LIMITS.maxUnfinishedFrames} frames may be unfinished, got one more`)
    }
    const begun: Unfinished = { header, body: [], bodyBytes: 0, bytes: 0, heldBytes: 0 }
    this.#unfinished.set(key, begun)
    return begun
  }

  #append(unfinished: Unfinished, body: Uint8Array, messageBytes: number): void {
    unfinished.bodyBytes += body.byteLength
    unfinished.bytes += messageBytes
    if (unfinished.bodyBytes > this.#maxBodyBytes) {
      throw refuse(`a body may have at most ${this.#maxBodyBytes} bytes, got ${unfinished.bodyBytes}`)
    }
    if (!unfinished.body) return
    const heldBytes = messageBytes + FRAGMENT_OVERHEAD_BYTES
    unfinished.heldBytes += heldBytes
    this.#heldBytes += heldBytes
    const maxHeldBytes = Math.max(LIMITS.maxUnfinishedBytes, 2 * this.#maxBodyBytes)
    if (this.#heldBytes > maxHeldBytes) {
      throw refuse(`unfinished frames may have at most ${maxHeldBytes} bytes, got ${this.#heldBytes}`)
    }
    unfinished.body.push(body)
  }

  #forget(key: number, unfinished: Unfinished): void {
    this.#heldBytes -= unfinished.heldBytes
    this.#unfinished.delete(key)
  }
}

function readUint32(message: Uint8Array, at: number): number {
  let value = 0
  for (let i = 3; i >= 0; i--) value = value * 256 + (message[at + i] ?? 0)
  return value
}

function keyOf(code: number, id: number): number {
  return id * 16 + code
}

function complete(
  type: FrameType,
  id: number,
  headerBytes: Uint8Array,
  body: Uint8Array,
  bytes: number,
): ReceivedFrame {
  const header = decodeHeader(headerBytes)
  if (typeof header !== 'object' || header === null || Array.isArray(header) || ArrayBuffer.isView(header)) {
    throw refuse(`a header must be a map, got ${kindOf(header)}`)
  }
  const fields = header as Record<string, unknown>
  return { type, id, header: fields, parts: cut(body, fields.parts), bytes }
}

function cut(body: Uint8Array, sizes: unknown): Uint8Array[] {
  if (sizes === undefined && body.byteLength === 0) return []
  if (!Array.isArray(sizes)) {
    throw refuse(`the header "parts" must list the sizes of the body's parts, got ${show(sizes)}`)
  }
  const parts: Uint8Array[] = []
  let offset = 0
  for (const size of sizes) {
    if (!Number.isSafeInteger(size) || size < 0 || offset + size > body.byteLength) {
      throw refuse(
        `part ${parts.length} must fit a body of ${body.byteLength} bytes, got ${show(size)} bytes from ${offset} on`,
      )
    }
    parts.push(body.subarray(offset, offset + size))
    offset = alignUp(offset + size, 8)
  }
  if (offset !== body.byteLength) {
    throw refuse(`parts must cover the body, got ${offset} bytes of them and ${body.byteLength} of the body`)
  }
  return parts
}

function refuse(reason: string) {
  return invalid(`Cannot read the frame: ${reason}`)
}
