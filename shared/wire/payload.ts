import { type Bytes, concat } from '../base/bytes.ts'
import { decode, decodeJson, encodeJson, encodeParts, mapTensors } from './codec.ts'
import { invalid } from './errors.ts'
import { Tensor } from './tensor.ts'

/**
 * A value on its way. `json` and `msgpack` are opaque bytes to everyone between caller and callee. `tensors` is the
 * form on Shoal's own sockets: the structure is open, so that a pool can read names, dtypes and shapes, and each
 * tensor's data is a part of its own that is forwarded untouched. `value` never leaves the process: between two of its
 * parts there is nothing to encode, and no one to distrust.
 */
export type Payload =
  | { codec: 'json'; body: Bytes }
  | { codec: 'msgpack'; body: Bytes }
  | { codec: 'tensors'; structure: unknown; parts: readonly Uint8Array[] }
  | { codec: 'value'; value: unknown }

export type Codec = Payload['codec']

/** What stands for a tensor in the structure of a `tensors` payload: `part` is an index into the parts. */
export interface TensorRef {
  $tensor: string
  shape: readonly number[]
  part: number
}

export function encodePayload(value: unknown, codec: Codec): Payload {
  if (codec === 'json') return { codec, body: encodeJson(value) }
  if (codec === 'msgpack') return { codec, body: concat(encodeParts(value)) }
  if (codec === 'value') return { codec, value }
  const parts: Uint8Array[] = []
  const structure = split(value, parts)
  return { codec, structure, parts }
}

/** @throws RpcError `invalid_argument` if the payload is malformed */
export function decodePayload(payload: Payload): unknown {
  if (payload.codec === 'json') return decodeJson(payload.body)
  if (payload.codec === 'msgpack') return decode(payload.body)
  if (payload.codec === 'value') return payload.value
  return payload.parts.length === 0
    ? payload.structure
    : mapTensors(payload.structure, (map) => joinTensor(map, payload.parts))
}

/** A copy of `value` with each tensor's data moved to `parts`. */
function split(value: unknown, parts: Uint8Array[]): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Tensor) {
    const ref: TensorRef = { $tensor: value.dtype, shape: value.shape, part: parts.push(value.bytes) - 1 }
    return ref
  }
  if (Array.isArray(value)) return value.map((entry) => split(entry, parts))
  if (ArrayBuffer.isView(value)) return value
  const copy: Record<string, unknown> = {}
  for (const [key, entry] of Object.entries(value)) {
    if (entry !== undefined) copy[key] = split(entry, parts)
  }
  return copy
}

function joinTensor(map: Record<string, unknown>, parts: readonly Uint8Array[]): Tensor {
  const part = parts[map.part as number]
  if (!part) throw invalid(`Cannot read a tensor: part must be below ${parts.length}, got ${map.part}`)
  return new Tensor(map.$tensor as Tensor['dtype'], map.shape as number[], part)
}
