import { type Bytes, EMPTY } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { type AnswerHead, MalformedAnswer, readHead } from './answer_head.ts'
import { Chunks } from './chunks.ts'

/** An answer, whole. */
export interface Answer extends AnswerHead {
  /** Nothing else writes there. */
  readonly body: Bytes
}

/** An answer that is longer than its reader takes. Its connection is cut. */
export class AnswerTooLong extends Error {}

const NOTHING = Buffer.alloc(0)
const END_OF_HEAD = '\r\n\r\n'
/** Bytes made text at once: a head as a rule, and little of the body after it, which its text keeps in memory. */
const READ_AHEAD = 1024

/**
 * Reads the answers of a connection, one for each request. Most come in one read, and are then copied once: their bodies.
 * Nothing is allocated from a declared length.
 */
export class AnswerReader {
  readonly #maxBytes: number
  /** Of a head that has not come whole. */
  #text = ''
  #last: { text: string; head: AnswerHead } | undefined
  #head: AnswerHead | undefined
  #chunks: Chunks | undefined
  /** Bytes of interim answers before the one that is read. */
  #interimBytes = 0
  /** What came of a body that did not come at once, with room for as much again. */
  #body = NOTHING
  #bytes = 0

  /** @param maxBytes of one body */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /**
   * @param bytes of one answer, in whatever pieces they come; may be written over once this returns
   * @returns the answer with its last byte
   * @throws MalformedAnswer or AnswerTooLong, after which this reader reads no more
   */
  read(bytes: Buffer): Answer | undefined {
    let at = 0
    while (!this.#head) {
      if (at === bytes.byteLength) return undefined
      at = this.#readHead(bytes, at)
    }
    return this.#readBody(this.#head, bytes, at)
  }

  /** The connection has ended. @returns the answer, if that was how its body was to end */
  end(): Answer | undefined {
    return this.#head?.framing === 'rest' ? this.#whole(this.#head, this.#kept(), true) : undefined
  }

  /** @returns where the rest begins */
  #readHead(bytes: Buffer, at: number): number {
    const before = this.#text.length
    const until = Math.min(at + READ_AHEAD, bytes.byteLength)
    this.#text += bytes.toString('latin1', at, until)
    const end = this.#text.indexOf(END_OF_HEAD, Math.max(0, before - END_OF_HEAD.length + 1))
    if (this.#interimBytes + (end < 0 ? this.#text.length : end) > LIMITS.maxAnswerHeadBytes) {
      throw new MalformedAnswer(`expected a head of at most ${LIMITS.maxAnswerHeadBytes} bytes, got more`)
    }
    if (end < 0) return until
    const head = this.#headOf(this.#text.slice(0, end))
    this.#text = ''
    if (head.status >= 200) this.#head = head
    // What follows an interim answer (100, 103) is the answer.
    else if (head.status === 101 || head.keptMs === 0) {
      throw new MalformedAnswer(`expected an answer, got ${head.status} as the connection's last`)
    }
    this.#interimBytes += end + END_OF_HEAD.length
    return at + end + END_OF_HEAD.length - before
  }

  /** Servers say the same before each answer of a kind, until the second of its date has changed. */
  #headOf(text: string): AnswerHead {
    if (this.#last?.text !== text) this.#last = { text, head: readHead(text) }
    return this.#last.head
  }

  #readBody(head: AnswerHead, bytes: Buffer, at: number): Answer | undefined {
    const { framing } = head
    if (framing === 'chunks') {
      const chunks = this.#chunks ??= new Chunks()
      const read = chunks.read(bytes.subarray(at), (part) => this.#keep(part))
      return chunks.ended ? this.#whole(head, this.#kept(), at + read < bytes.byteLength) : undefined
    }
    const came = bytes.byteLength - at
    if (framing === 'rest') {
      if (came > 0) this.#keep(bytes.subarray(at))
      return undefined
    }
    if (framing > this.#maxBytes) throw this.#tooLong()
    const missing = framing - this.#bytes
    if (came < missing) {
      if (came > 0) this.#keep(bytes.subarray(at))
      return undefined
    }
    const last = bytes.subarray(at, at + missing)
    if (this.#bytes === 0) return this.#whole(head, copyOf(last), came > missing)
    this.#keep(last)
    return this.#whole(head, this.#kept(), came > missing)
  }

  #keep(part: Uint8Array): void {
    const bytes = this.#bytes + part.byteLength
    if (bytes > this.#maxBytes) throw this.#tooLong()
    if (bytes > this.#body.byteLength) {
      const roomier = Buffer.allocUnsafeSlow(Math.min(2 * bytes, this.#maxBytes))
      roomier.set(this.#kept())
      this.#body = roomier
    }
    this.#body.set(part, this.#bytes)
    this.#bytes = bytes
  }

  #kept(): Bytes {
    return this.#body.subarray(0, this.#bytes)
  }

  #tooLong(): AnswerTooLong {
    return new AnswerTooLong(`it may have at most ${this.#maxBytes} bytes`)
  }

  /** @param isLast nobody can tell where on this connection another answer would begin */
  #whole(head: AnswerHead, body: Bytes, isLast: boolean): Answer {
    this.#head = this.#chunks = undefined
    this.#interimBytes = 0
    if (this.#bytes > 0) {
      this.#body = NOTHING
      this.#bytes = 0
    }
    const { status, statusText, headers, framing, keptMs } = head
    return { status, statusText, headers, framing, keptMs: isLast ? 0 : keptMs, body }
  }
}

function copyOf(part: Uint8Array): Bytes {
  if (part.byteLength === 0) return EMPTY
  const copy = Buffer.allocUnsafe(part.byteLength)
  copy.set(part)
  return copy
}
