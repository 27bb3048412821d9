import type { Bytes } from '../base/bytes.ts'
import { show } from '../base/show.ts'
import { decode, decodeJson, encode, encodeJson } from './codec.ts'
import { invalid } from './errors.ts'
import { type Form, toPlain } from './plain.ts'
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

const JSON_FORM: Form = { name: 'JSON', binary: false }
const MSGPACK_FORM: Form = { name: 'msgpack', binary: true }

/** @throws RpcError `invalid_argument` naming the place of anything that would not arrive as it was sent */
export function encodePayload(value: unknown, codec: Codec): Payload {
  if (codec === 'value') return { codec, value }
  if (codec === 'json') return { codec, body: encodeJson(toPlain(value, JSON_FORM)) }
  if (codec === 'msgpack') return { codec, body: encode(toPlain(value, MSGPACK_FORM)) }
  const parts: Uint8Array[] = []
  const tensor = ({ dtype, shape, bytes }: Tensor): TensorRef => {
    return { $tensor: dtype, shape, part: parts.push(bytes) - 1 }
  }
  return { codec, structure: toPlain(value, { name: 'a frame', binary: true, tensor }), parts }
}

/**
 * Binary data and tensors are views of the payload's bytes.
 * @throws RpcError `invalid_argument` if the payload is malformed
 */
export function decodePayload(payload: Payload): unknown {
  if (payload.codec === 'value') return payload.value
  if (payload.codec === 'json') return decodeJson(payload.body)
  if (payload.codec === 'msgpack') return decode(payload.body)
  return joinTensors(payload.structure, payload.parts)
}

/** A copy of `structure` with tensors in place of their references: the payload may yet be sent on, or tried again. */
function joinTensors(structure: unknown, parts: readonly Uint8Array[]): unknown {
  if (typeof structure !== 'object' || structure === null || ArrayBuffer.isView(structure)) return structure
  if (Array.isArray(structure)) return structure.map((entry) => joinTensors(entry, parts))
  const map = structure as Record<string, unknown>
  if (Object.hasOwn(map, '$tensor')) return joinTensor(map, parts)
  const copy: Record<string, unknown> = {}
  for (const key of Object.keys(map)) copy[key] = joinTensors(map[key], parts)
  return copy
}

function joinTensor(map: Record<string, unknown>, parts: readonly Uint8Array[]): Tensor {
  const part = typeof map.part === 'number' ? parts[map.part] : undefined
  if (!part) {
    const got = show(map.part)
    throw invalid(`Cannot read a tensor: part must be the number of one of ${parts.length} parts, got ${got}`)
  }
  return new Tensor(map.$tensor as Tensor['dtype'], map.shape as number[], part)
}
