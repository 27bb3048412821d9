import { Encoder, ExtData, type ExtensionCodecType } from '@msgpack/msgpack'
import { type Bytes, decodeUtf8, EMPTY, encodeUtf8 } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { kindOf, show } from '../base/show.ts'
import { invalid, RpcError } from './errors.ts'
import { readMsgpack } from './msgpack_reader.ts'
import { NOT_WRITTEN, writePlain } from './msgpack_writer.ts'
import { scanJson } from './scan_json.ts'
import { fromJsonValues, Tensor } from './tensor.ts'
import { headBytes, writeHead } from './tensor_head.ts'

/**
 * Values ↔ bytes. In msgpack a tensor is an ordinary map {$tensor, shape, pad, data} that any msgpack library reads;
 * `pad` moves `data` to a multiple of 8 from the message's start, so that decoding gives a view and not a copy.
 */

/** Where a tensor goes: `at` is the place of its 6-byte placeholder in the skeleton. */
interface Slot {
  at: number
  tensor: Tensor
}

const PLACEHOLDER_BYTES = 6

/** Filled while one (synchronous) encode runs; empty between encodes. */
const slots: Slot[] = []

/** Extensions serve as placeholders of tensors while a message is encoded; none is ever sent or accepted. */
const placeholders: ExtensionCodecType<undefined> = {
  tryToEncode(value) {
    if (!(value instanceof Tensor)) return null
    return new ExtData(0, (dataAt: number) => {
      slots.push({ at: dataAt - PLACEHOLDER_BYTES, tensor: value })
      return EMPTY
    })
  },
  decode() {
    throw invalid('Cannot decode the message: extensions are not used')
  },
}

const newEncoder = () =>
  new Encoder({ extensionCodec: placeholders, ignoreUndefined: true, maxDepth: LIMITS.maxDepth + 1 })

let encoder = newEncoder()

/** The encoder keeps its last message. One larger than this is not worth its memory. */
const MAX_KEPT_BYTES = 1 << 20

/**
 * @param mode `encode` for bytes of the caller's own, `encodeSharedRef` for bytes that are valid until the next encode
 * @returns the message with placeholders for its tensors, which are in `slots`
 */
function encodeSkeleton(value: unknown, mode: 'encode' | 'encodeSharedRef'): Bytes {
  slots.length = 0
  try {
    const skeleton = encoder[mode](value)
    if (skeleton.byteLength > MAX_KEPT_BYTES) encoder = newEncoder()
    return skeleton as Bytes
  } catch (cause) {
    throw new RpcError('internal', `Cannot encode the message: ${(cause as Error).message}`, { cause })
  }
}

/**
 * Encodes a value as msgpack, in pieces: what surrounds the tensors is fresh, their data are views of the tensors.
 * @throws RpcError `internal` for what msgpack cannot hold (functions, symbols, bigints)
 */
export function encodeParts(value: unknown): Uint8Array[] {
  const skeleton = encodeSkeleton(value, 'encode')
  const parts: Uint8Array[] = []
  let from = 0
  let written = 0
  for (const { at, tensor } of slots.splice(0)) {
    const before = skeleton.subarray(from, at)
    const head = new Uint8Array(headBytes(tensor, written + before.byteLength))
    writeHead(head, 0, tensor, written + before.byteLength)
    parts.push(before, head, tensor.bytes)
    written += before.byteLength + head.byteLength + tensor.bytes.byteLength
    from = at + PLACEHOLDER_BYTES
  }
  parts.push(skeleton.subarray(from))
  return parts
}

/** Encodes a value as one msgpack message: the pieces in one buffer, without making them first. */
export function encode(value: unknown): Bytes {
  const skeleton = encodeSkeleton(value, 'encodeSharedRef')
  if (slots.length === 0) return skeleton.slice()
  let total = skeleton.byteLength
  let moved = 0
  for (const { at, tensor } of slots) {
    const added = headBytes(tensor, at + moved) + tensor.bytes.byteLength - PLACEHOLDER_BYTES
    moved += added
    total += added
  }
  const message = new Uint8Array(total)
  let from = 0
  let written = 0
  for (const { at, tensor } of slots) {
    written = copy(skeleton, from, at, message, written)
    written = writeHead(message, written, tensor, written)
    message.set(tensor.bytes, written)
    written += tensor.bytes.byteLength
    from = at + PLACEHOLDER_BYTES
  }
  copy(skeleton, from, skeleton.byteLength, message, written)
  slots.length = 0
  return message
}

/** A view costs more than these bytes do. */
const COPIED_ONE_BY_ONE = 64

/** @returns where what follows goes */
function copy(source: Uint8Array, from: number, to: number, target: Uint8Array, at: number): number {
  if (to - from > COPIED_ONE_BY_ONE) target.set(source.subarray(from, to), at)
  else for (let i = from; i < to; i++) target[at + i - from] = source[i] ?? 0
  return at + to - from
}

/** Where headers are written: most have a few hundred bytes. */
const plainHeader = new Uint8Array(4096)

/**
 * Encodes a frame's header.
 * @returns bytes that are valid until the next encode
 * @throws RpcError `internal` if it holds a tensor: those are parts of a frame
 */
export function encodeHeader(header: Readonly<Record<string, unknown>>): Uint8Array {
  const end = writePlain(plainHeader, 0, header, LIMITS.maxDepth)
  if (end !== NOT_WRITTEN) return plainHeader.subarray(0, end)
  const bytes = encodeSkeleton(header, 'encodeSharedRef')
  if (slots.length === 0) return bytes
  slots.length = 0
  throw new RpcError('internal', 'Cannot encode the frame: tensors must be parts, not in the header')
}

/**
 * Decodes one msgpack message. Binary data and tensors are views of `bytes`, which must not change afterwards.
 * @throws RpcError `invalid_argument` for anything PROTOCOL.md does not accept
 */
export function decode(bytes: Uint8Array): unknown {
  const { value, hasTensors } = readMsgpack(bytes)
  return hasTensors ? mapTensors(value, readTensor) : value
}

/** Decodes a frame's header, in which "$tensor" marks a reference to one of the frame's parts and stays as it is. */
export function decodeHeader(bytes: Uint8Array): unknown {
  return readMsgpack(bytes).value
}

/** Encodes a value as JSON text; tensors take their JSON form. */
export function encodeJson(value: unknown): Bytes {
  try {
    return encodeUtf8(JSON.stringify(value) ?? 'null')
  } catch (cause) {
    throw new RpcError('internal', `Cannot encode the message: ${(cause as Error).message}`, { cause })
  }
}

/** Decodes JSON text under the same rules as msgpack. */
export function decodeJson(bytes: Uint8Array): unknown {
  let text: string
  try {
    text = decodeUtf8(bytes)
  } catch (cause) {
    throw invalid('Cannot decode the message: JSON must be valid UTF-8, got bytes that are not', { cause })
  }
  const { hasTensors, mayBeIllFormed } = scanJson(bytes)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw invalid(`Cannot decode the message: expected JSON, got ${(cause as Error).message}`, { cause })
  }
  if (mayBeIllFormed) requireWellFormed(value)
  return hasTensors ? mapTensors(value, readJsonTensor) : value
}

/** Replaces every map that holds "$tensor" by what `read` makes of it, in place. The depth was bounded before. */
function mapTensors(value: unknown, read: (map: Record<string, unknown>) => unknown): unknown {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  if (Array.isArray(value)) {
    // Numbers are most of what long arrays hold; they need no visit.
    for (let i = 0; i < value.length; i++) {
      if (typeof value[i] === 'object') value[i] = mapTensors(value[i], read)
    }
    return value
  }
  const map = value as Record<string, unknown>
  if (Object.hasOwn(map, '$tensor')) return read(map)
  for (const key of Object.keys(map)) {
    if (typeof map[key] === 'object') map[key] = mapTensors(map[key], read)
  }
  return map
}

/** Half of a surrogate pair can be written as an escape, but no UTF-8 text holds it: it could not travel further. */
function requireWellFormed(value: unknown): void {
  if (typeof value === 'string') {
    if (value.isWellFormed()) return
    const got = show(value.toWellFormed())
    throw invalid(`Cannot decode the message: a text must not hold half of a surrogate pair, got ${got}`)
  } else if (Array.isArray(value)) { for (const entry of value) requireWellFormed(entry) }
  else if (typeof value === 'object' && value !== null) {
    for (const [key, entry] of Object.entries(value)) {
      requireWellFormed(key)
      requireWellFormed(entry)
    }
  }
}

function readTensor(map: Record<string, unknown>): Tensor {
  if (!(map.data instanceof Uint8Array)) {
    throw invalid(`Cannot read a tensor: data must be binary, got ${kindOf(map.data)}`)
  }
  return new Tensor(map.$tensor as Tensor['dtype'], map.shape as number[], map.data)
}

function readJsonTensor(map: Record<string, unknown>): Tensor {
  return fromJsonValues(map.$tensor as Tensor['dtype'], map.shape as number[], map.data)
}
