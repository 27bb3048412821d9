import { LIMITS } from '../../../shared/base/limits.ts'
import { MalformedAnswer } from './answer_head.ts'

/** A chunk's size, and extensions that nobody reads: names, some with a value, which is a word or quoted (RFC 9112, 7.1.1). */
const SIZE =
  /^([\da-fA-F]{1,8})(?:;[!#$%&'*+\-.^_`|~\dA-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~\dA-Za-z]+|"[\t !#-[\]-~\x80-\xff]*"))?)*$/
/** A field after the last chunk. It is thrown away; what is none, or would say that the body ends elsewhere, is refused. */
const TRAILER = /^(?!(?:content-length|transfer-encoding):)[!#$%&'*+\-.^_`|~\dA-Z]+:[\t -~\x80-\xff]*$/i
const LF = 10

/** A body in chunks (RFC 9112, 7.1), however its bytes come in pieces. */
export class Chunks {
  #line = ''
  /** Characters of lines since the last chunk's data. */
  #lineLength = 0
  /** Bytes of the chunk under way that have not come. */
  #missing = 0
  #next: 'size' | 'data' | 'end of data' | 'trailer' | 'nothing' = 'size'

  get ended(): boolean {
    return this.#next === 'nothing'
  }

  /**
   * @param onData is given views of `bytes`
   * @returns how many of the bytes belong to the body: all of them unless it has ended
   * @throws MalformedAnswer
   */
  read(bytes: Uint8Array, onData: (part: Uint8Array) => void): number {
    let at = 0
    while (at < bytes.byteLength && !this.ended) {
      if (this.#next === 'data') {
        const part = bytes.subarray(at, at + this.#missing)
        onData(part)
        at += part.byteLength
        this.#missing -= part.byteLength
        if (this.#missing === 0) this.#next = 'end of data'
      } else {
        at = this.#readLine(bytes, at)
      }
    }
    return at
  }

  #readLine(bytes: Uint8Array, from: number): number {
    const end = bytes.indexOf(LF, from)
    const until = end < 0 ? bytes.byteLength : end + 1
    this.#lineLength += until - from
    if (this.#lineLength > LIMITS.maxChunkLineBytes) {
      throw new MalformedAnswer(`expected at most ${LIMITS.maxChunkLineBytes} bytes between two chunks, got more`)
    }
    this.#line += Buffer.from(bytes.buffer, bytes.byteOffset + from, until - from).toString('latin1')
    if (end >= 0) {
      const line = this.#line
      this.#line = ''
      if (!line.endsWith('\r\n')) throw malformed(line)
      this.#take(line.slice(0, -2))
    }
    return until
  }

  #take(line: string): void {
    if (this.#next === 'trailer') {
      if (line === '') this.#next = 'nothing'
      else if (!TRAILER.test(line)) throw malformed(line)
    } else if (this.#next === 'end of data') {
      if (line !== '') throw malformed(line)
      this.#next = 'size'
      this.#lineLength = 0
    } else {
      const digits = SIZE.exec(line)?.[1]
      if (digits === undefined) throw malformed(line)
      this.#missing = parseInt(digits, 16)
      this.#next = this.#missing === 0 ? 'trailer' : 'data'
    }
  }
}

function malformed(line: string): MalformedAnswer {
  return new MalformedAnswer(`expected a chunk, got ${JSON.stringify(line.slice(0, 40))}`)
}
