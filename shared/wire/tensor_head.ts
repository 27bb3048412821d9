import { encodeUtf8 } from '../base/bytes.ts'
import { type DType, DTYPE_LIST } from './dtype.ts'
import type { Tensor } from './tensor.ts'

/**
 * What stands before a tensor's data in a msgpack message: a map {$tensor, shape, pad, data} up to the first byte of
 * `data`. Written by hand, since every call has one: an encoder's general way costs several times as much.
 */

/** The map and its first entry, up to the shape's value, for each dtype. */
const BEGINNINGS = new Map<DType, Uint8Array>(
  DTYPE_LIST.map((dtype) => [dtype, Uint8Array.of(0x84, ...text('$tensor'), ...text(dtype), ...text('shape'))]),
)
const PAD_KEY = text('pad')
const DATA_KEY = text('data')
const EMPTY = new Uint8Array(0)

/** A short text in msgpack. */
function text(value: string): Uint8Array {
  const bytes = encodeUtf8(value)
  return Uint8Array.of(0xa0 | bytes.byteLength, ...bytes)
}

/** Bytes before the padding: the last two are the padding's own head. */
function bytesBeforePad({ dtype, shape }: Tensor): number {
  let total = (BEGINNINGS.get(dtype) ?? EMPTY).byteLength + (shape.length < 16 ? 1 : 3)
  for (const size of shape) total += size < 0x80 ? 1 : size < 0x100 ? 2 : size < 0x10000 ? 3 : size < 2 ** 32 ? 5 : 9
  return total + PAD_KEY.byteLength + 2
}

function bytesAfterPad(tensor: Tensor): number {
  const size = tensor.bytes.byteLength
  return DATA_KEY.byteLength + (size < 0x100 ? 2 : size < 0x10000 ? 3 : 5)
}

/** Bytes of the head of a tensor that begins at `at`, padded so that its data start at a multiple of 8. */
export function headBytes(tensor: Tensor, at: number): number {
  const fixed = bytesBeforePad(tensor) + bytesAfterPad(tensor)
  return fixed + (-(at + fixed) & 7)
}

/**
 * Writes a tensor's head at `at`, as long as `headBytes` says.
 * @param position where in the message that is
 * @returns where in `target` its data go
 */
export function writeHead(target: Uint8Array, at: number, tensor: Tensor, position: number): number {
  const { dtype, shape, bytes: { byteLength: size } } = tensor
  const fixed = bytesBeforePad(tensor) + bytesAfterPad(tensor)
  const pad = -(position + fixed) & 7
  let offset = put(target, at, BEGINNINGS.get(dtype) ?? EMPTY)
  if (shape.length < 16) target[offset++] = 0x90 | shape.length
  else offset = putNumber(target, offset, 0xdc, shape.length, 2)
  for (const size of shape) offset = putSize(target, offset, size)
  offset = put(target, offset, PAD_KEY)
  target[offset] = 0xc4
  target[offset + 1] = pad
  offset = put(target, offset + 2 + pad, DATA_KEY)
  if (size < 0x100) return putNumber(target, offset, 0xc4, size, 1)
  return size < 0x10000 ? putNumber(target, offset, 0xc5, size, 2) : putNumber(target, offset, 0xc6, size, 4)
}

function put(target: Uint8Array, at: number, bytes: Uint8Array): number {
  for (let i = 0; i < bytes.length; i++) target[at + i] = bytes[i] ?? 0
  return at + bytes.length
}

function putSize(target: Uint8Array, at: number, size: number): number {
  if (size < 0x80) {
    target[at] = size
    return at + 1
  }
  if (size < 0x100) return putNumber(target, at, 0xcc, size, 1)
  if (size < 0x10000) return putNumber(target, at, 0xcd, size, 2)
  return size < 2 ** 32 ? putNumber(target, at, 0xce, size, 4) : putNumber(target, at, 0xcf, size, 8)
}

/** A type's byte, then a number, big-endian. No bit operations: sizes may pass 2^31. */
function putNumber(target: Uint8Array, at: number, type: number, value: number, bytes: number): number {
  target[at] = type
  let rest = value
  for (let i = bytes; i > 0; i--) {
    target[at + i] = rest % 256
    rest = Math.floor(rest / 256)
  }
  return at + 1 + bytes
}
