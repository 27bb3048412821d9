import { type Bytes, concat } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { invalid } from '../wire/errors.ts'

/** A file of which parts can be read: pieces in a blob store, or a file on a disk. */
export interface RandomAccess {
  readonly size: number
  /** @returns `length` bytes from `at` on; both lie within the file */
  read(at: number, length: number): Promise<Uint8Array>
}

const GRAPH = 7
const INITIALIZER = 5
/** Fields of a TensorProto that hold its values. */
const VALUES: readonly number[] = [4, 5, 6, 7, 9, 10, 11]
/** Initializers shorter than this are copied as they are. */
const SMALL_BYTES = 4096
const WINDOW_BYTES = 256 * 1024

const VARINT = 0
const FIXED64 = 1
const LENGTH_DELIMITED = 2
const FIXED32 = 5

/**
 * An ONNX model without the values of its initializers, which are nearly all of it: enough to read what it takes and gives.
 * Weights are skipped, not read, so that it costs little memory however large the model is.
 * @throws RpcError `invalid_argument` if it does not parse, or the rest is more than LIMITS.maxLeanModelBytes
 */
export async function readLeanModel(file: RandomAccess): Promise<Bytes> {
  const scanner = new Scanner(file)
  try {
    return concat(await scanner.message(0, file.size, (no) => no === GRAPH ? graph : undefined))
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    throw invalid(`Cannot read the model: expected an ONNX file, got ${file.size} bytes that do not parse`, { cause })
  }
}

/** What becomes of a length-delimited field: 'drop', the rule for the message it holds, or copied where undefined. */
type Rule = (no: number, length: number) => Rule | 'drop' | undefined

const graph: Rule = (no, length) => no === INITIALIZER && length >= SMALL_BYTES ? tensor : undefined
const tensor: Rule = (no) => VALUES.includes(no) ? 'drop' : undefined

class Scanner {
  readonly #file: RandomAccess
  #window: Uint8Array = new Uint8Array(0)
  #windowAt = 0
  #kept = 0

  constructor(file: RandomAccess) {
    this.#file = file
  }

  async message(from: number, end: number, rule: Rule): Promise<Uint8Array[]> {
    const parts: Uint8Array[] = []
    for (let at = from; at < end;) {
      const tag = await this.#varint(at, end)
      const wireType = tag.value % 8
      if (wireType !== LENGTH_DELIMITED) {
        const next = wireType === VARINT
          ? (await this.#varint(tag.end, end)).end
          : tag.end + (wireType === FIXED64 ? 8 : wireType === FIXED32 ? 4 : Infinity)
        parts.push(await this.#copy(at, next, end))
        at = next
        continue
      }
      const length = await this.#varint(tag.end, end)
      const next = length.end + length.value
      if (next > end) throw new RangeError('a length runs past the end')
      const inner = rule(Math.floor(tag.value / 8), length.value)
      if (inner === undefined) parts.push(await this.#copy(at, next, end))
      else if (inner !== 'drop') {
        const message = await this.message(length.end, next, inner)
        const bytes = message.reduce((sum, part) => sum + part.byteLength, 0)
        parts.push(await this.#copy(at, tag.end, end), varint(bytes), ...message)
      }
      at = next
    }
    return parts
  }

  async #copy(from: number, to: number, end: number): Promise<Uint8Array> {
    if (to > end) throw new RangeError('a field runs past the end')
    this.#kept += to - from
    if (this.#kept > LIMITS.maxLeanModelBytes) {
      throw invalid(
        `Cannot read the model: beside its weights it must have at most ${LIMITS.maxLeanModelBytes} bytes, got more (store large constants as initializers)`,
      )
    }
    // A copy: the window moves on.
    return new Uint8Array(await this.#at(from, to - from))
  }

  async #varint(at: number, end: number): Promise<{ value: number; end: number }> {
    const bytes = await this.#at(at, Math.min(10, end - at))
    let value = 0
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i] ?? 0
      // Beyond 2^53 it is a negative number of ten bytes: no length, and no tag.
      value += (byte & 0x7f) * 2 ** (7 * i)
      if (byte < 0x80) return { value, end: at + i + 1 }
    }
    throw new RangeError('a number runs past the end')
  }

  async #at(at: number, length: number): Promise<Uint8Array> {
    if (at < this.#windowAt || at + length > this.#windowAt + this.#window.byteLength) {
      this.#windowAt = at
      this.#window = await this.#file.read(at, Math.min(this.#file.size - at, Math.max(length, WINDOW_BYTES)))
    }
    return this.#window.subarray(at - this.#windowAt, at - this.#windowAt + length)
  }
}

function varint(value: number): Uint8Array {
  const bytes: number[] = []
  let left = value
  for (; left >= 0x80; left = Math.floor(left / 0x80)) bytes.push(left % 0x80 + 0x80)
  return Uint8Array.from([...bytes, left])
}
