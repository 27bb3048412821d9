import { Decoder, Encoder, ExtensionCodec } from '@msgpack/msgpack'
import { type Bytes, concat, decodeUtf8, EMPTY, encodeUtf8 } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { invalid, RpcError } from './errors.ts'
import { isForbiddenKey, scan } from './scan.ts'
import { fromJsonValues, Tensor } from './tensor.ts'

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
const TENSOR_EXT = 1

/** Filled while one (synchronous) encode runs; empty between encodes. */
const slots: Slot[] = []

const placeholders = new ExtensionCodec()
placeholders.register({
  type: TENSOR_EXT,
  encode: (value) => {
    if (!(value instanceof Tensor)) return null
    return (dataAt: number) => {
      slots.push({ at: dataAt - PLACEHOLDER_BYTES, tensor: value })
      return EMPTY
    }
  },
  decode: () => {
    throw invalid('Cannot decode the message: extensions are not used')
  },
})

const encoder = new Encoder({ extensionCodec: placeholders, ignoreUndefined: true, maxDepth: LIMITS.maxDepth + 1 })
const decoder = new Decoder({
  maxStrLength: LIMITS.maxMessageBytes,
  maxBinLength: LIMITS.maxMessageBytes,
  maxArrayLength: LIMITS.maxNodes,
  maxMapLength: LIMITS.maxNodes,
  maxExtLength: 0,
})

/**
 * Encodes a value as msgpack, in pieces: what surrounds the tensors is fresh, their data are views of the tensors.
 * @throws RpcError `internal` for what msgpack cannot hold (functions, symbols, bigints)
 */
export function encodeParts(value: unknown): Uint8Array[] {
  slots.length = 0
  let skeleton: Uint8Array
  try {
    skeleton = encoder.encodeSharedRef(value)
  } catch (cause) {
    slots.length = 0
    throw new RpcError('internal', `Cannot encode the message: ${(cause as Error).message}`, { cause })
  }
  if (slots.length === 0) return [skeleton.slice()]
  const parts: Uint8Array[] = []
  const heads = slots.splice(0)
  skeleton = skeleton.slice()
  let from = 0
  let written = 0
  for (const { at, tensor } of heads) {
    const before = skeleton.subarray(from, at)
    const head = tensorHead(tensor, written + before.byteLength)
    parts.push(before, head, tensor.bytes)
    written += before.byteLength + head.byteLength + tensor.bytes.byteLength
    from = at + PLACEHOLDER_BYTES
  }
  parts.push(skeleton.subarray(from))
  return parts
}

/** Encodes a value as one msgpack message. */
export function encode(value: unknown): Bytes {
  return concat(encodeParts(value))
}

/**
 * Decodes one msgpack message. Binary data and tensors are views of `bytes`, which must not change afterwards.
 * @throws RpcError `invalid_argument` for anything PROTOCOL.md does not accept
 */
export function decode(bytes: Uint8Array): unknown {
  const { hasTensors } = scan(bytes)
  const value = decodeScanned(bytes)
  return hasTensors ? mapTensors(value, readTensor) : value
}

/** Decodes a frame's header, in which "$tensor" marks a reference to one of the frame's parts and stays as it is. */
export function decodeHeader(bytes: Uint8Array): unknown {
  scan(bytes)
  return decodeScanned(bytes)
}

function decodeScanned(bytes: Uint8Array): unknown {
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw invalid(`Cannot decode the message: ${(cause as Error).message}`, { cause })
  }
}

/** Encodes a value as JSON text; tensors take their JSON form. */
export function encodeJson(value: unknown): Bytes {
  try {
    return encodeUtf8(JSON.stringify(value) ?? 'null')
  } catch (cause) {
    throw new RpcError('internal', `Cannot encode the message: ${(cause as Error).message}`, { cause })
  }
}

/** Decodes JSON text under the same rules as msgpack, as far as JSON can break them. */
export function decodeJson(bytes: Uint8Array): unknown {
  let value: unknown
  try {
    value = JSON.parse(decodeUtf8(bytes))
  } catch (cause) {
    throw invalid(`Cannot decode the message: expected JSON, got ${(cause as Error).message}`, { cause })
  }
  return mapTensors(value, readJsonTensor)
}

/** Everything of a tensor's map but its data, padded so that the data start at a multiple of 8. */
function tensorHead(tensor: Tensor, at: number): Uint8Array {
  const description = encoder.encodeSharedRef({ $tensor: tensor.dtype, shape: tensor.shape })
  const size = tensor.bytes.byteLength
  const lengthBytes = size < 0x100 ? 1 : size < 0x10000 ? 2 : 4
  const fixed = description.byteLength + PAD_KEY.byteLength + 2 + DATA_KEY.byteLength + 1 + lengthBytes
  const pad = -(at + fixed) & 7
  const head = new Uint8Array(fixed + pad)
  head.set(description)
  head[0] = 0x84 // four entries: $tensor, shape, pad, data
  let offset = description.byteLength
  head.set(PAD_KEY, offset)
  offset += PAD_KEY.byteLength
  head[offset] = 0xc4
  head[offset + 1] = pad
  offset += 2 + pad
  head.set(DATA_KEY, offset)
  offset += DATA_KEY.byteLength
  head[offset] = lengthBytes === 1 ? 0xc4 : lengthBytes === 2 ? 0xc5 : 0xc6
  const view = new DataView(head.buffer)
  if (lengthBytes === 1) view.setUint8(offset + 1, size)
  else if (lengthBytes === 2) view.setUint16(offset + 1, size)
  else view.setUint32(offset + 1, size)
  return head
}

const PAD_KEY = new Encoder().encode('pad')
const DATA_KEY = new Encoder().encode('data')

/** Replaces every map that holds "$tensor" by what `read` makes of it; checks keys and depth on the way. */
export function mapTensors(value: unknown, read: (map: Record<string, unknown>) => unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  if (depth >= LIMITS.maxDepth) {
    throw invalid(`Cannot decode the message: nesting may be at most ${LIMITS.maxDepth} deep`)
  }
  if (Array.isArray(value)) {
    // Numbers are most of what long arrays hold; they need no visit.
    for (let i = 0; i < value.length; i++) {
      if (typeof value[i] === 'object') value[i] = mapTensors(value[i], read, depth + 1)
    }
    return value
  }
  const map = value as Record<string, unknown>
  if (Object.hasOwn(map, '$tensor')) return read(map)
  for (const key of Object.keys(map)) {
    if (isForbiddenKey(key)) throw invalid(`Cannot decode the message: key "${key}" is not accepted`)
    if (typeof map[key] === 'object') map[key] = mapTensors(map[key], read, depth + 1)
  }
  return map
}

function readTensor(map: Record<string, unknown>): Tensor {
  if (!(map.data instanceof Uint8Array)) throw invalid('Cannot read a tensor: data must be binary')
  return new Tensor(map.$tensor as Tensor['dtype'], map.shape as number[], map.data)
}

function readJsonTensor(map: Record<string, unknown>): Tensor {
  return fromJsonValues(map.$tensor as Tensor['dtype'], map.shape as number[], map.data)
}
