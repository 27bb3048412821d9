import { alignUp, type Bytes, decodeUtf8, encodeUtf8 } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { type DType, DTYPES, type NumericDType } from '../wire/dtype.ts'
import { invalid, type RpcError } from '../wire/errors.ts'
import { elementCount, Tensor } from '../wire/tensor.ts'

/** https://huggingface.co/docs/safetensors: 8 bytes of length, a JSON header, then the tensors' bytes end to end. */
const NAMES: Readonly<Record<string, NumericDType>> = {
  BOOL: 'bool',
  U8: 'uint8',
  I8: 'int8',
  U16: 'uint16',
  I16: 'int16',
  U32: 'uint32',
  I32: 'int32',
  U64: 'uint64',
  I64: 'int64',
  F16: 'float16',
  F32: 'float32',
  F64: 'float64',
}
const LENGTH_BYTES = 8

export interface SafetensorsEntry {
  readonly dtype: NumericDType
  readonly shape: readonly number[]
  /** From the start of the file. */
  readonly offset: number
  readonly bytes: number
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>
  readonly metadata: Readonly<Record<string, string>>
}

export function writeSafetensors(
  tensors: Readonly<Record<string, Tensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Bytes {
  const header: Record<string, unknown> = { __metadata__: metadata }
  let offset = 0
  // The widest first: each then lies at a multiple of its element's size.
  const entries = Object.entries(tensors).sort(([, a], [, b]) => DTYPES[b.dtype].bytes - DTYPES[a.dtype].bytes)
  for (const [name, { dtype, shape, bytes }] of entries) {
    const known = Object.keys(NAMES).find((key) => NAMES[key] === dtype)
    if (!known) throw invalid(`Cannot write safetensors: "${name}" must be numeric, got ${dtype}`)
    header[name] = { dtype: known, shape, data_offsets: [offset, offset += bytes.byteLength] }
  }
  const text = JSON.stringify(header)
  const json = encodeUtf8(text)
  const start = alignUp(LENGTH_BYTES + json.length, 8)
  const file = new Uint8Array(start + offset)
  new DataView(file.buffer).setBigUint64(0, BigInt(start - LENGTH_BYTES), true)
  file.fill(0x20, LENGTH_BYTES, start)
  file.set(json, LENGTH_BYTES)
  let at = start
  for (const [, { bytes }] of entries) {
    file.set(bytes, at)
    at += bytes.byteLength
  }
  return file
}

/** The length of the header with its own 8 bytes. @throws RpcError `invalid_argument` if it cannot be one */
export function headerBytes(start: Uint8Array): number {
  if (start.byteLength < LENGTH_BYTES) throw malformed('it must have at least 8 bytes')
  const length = new DataView(start.buffer, start.byteOffset, LENGTH_BYTES).getBigUint64(0, true)
  if (length > LIMITS.maxSafetensorsHeaderBytes) {
    throw malformed(`its header may have ${LIMITS.maxSafetensorsHeaderBytes} bytes, got ${length}`)
  }
  return LENGTH_BYTES + Number(length)
}

/**
 * Reads a header: where each tensor lies.
 * @param start the file, or at least its header
 * @param fileBytes the file's length: no tensor may lie beyond it
 * @throws RpcError `invalid_argument` if it is not a safetensors header, or shapes and bytes do not agree
 */
export function readSafetensorsHeader(start: Uint8Array, fileBytes: number = start.byteLength): SafetensorsHeader {
  const dataAt = headerBytes(start)
  if (start.byteLength < dataAt) throw malformed('its header is cut off')
  let json: unknown
  try {
    json = JSON.parse(decodeUtf8(start.subarray(LENGTH_BYTES, dataAt)))
  } catch (cause) {
    throw malformed('its header must be JSON', cause)
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw malformed('its header must be an object')
  const tensors = new Map<string, SafetensorsEntry>()
  let metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') metadata = readMetadata(value)
    else tensors.set(name, readEntry(name, value, dataAt, fileBytes))
  }
  return { tensors, metadata }
}

/** All tensors of a file, as views of it. */
export function readSafetensors(
  file: Uint8Array,
): { tensors: Record<string, Tensor>; metadata: SafetensorsHeader['metadata'] } {
  const { tensors, metadata } = readSafetensorsHeader(file)
  const read = [...tensors].map(([name, { dtype, shape, offset, bytes }]) => {
    return [name, new Tensor(dtype as DType, shape, file.subarray(offset, offset + bytes))]
  })
  return { tensors: Object.fromEntries(read), metadata }
}

function readEntry(name: string, value: unknown, dataAt: number, fileBytes: number): SafetensorsEntry {
  const { dtype: code, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>
  const dtype = typeof code === 'string' && Object.hasOwn(NAMES, code) ? NAMES[code] : undefined
  if (!dtype) throw malformed(`"${name}" must have one of the types ${Object.keys(NAMES).join(', ')}`)
  const count = elementCount(dtype, shape as number[])
  const [from, to] = Array.isArray(offsets) ? offsets as unknown[] : []
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to)) throw malformed(`"${name}" must have two data_offsets`)
  const [first, end] = [from as number, to as number]
  const bytes = count * DTYPES[dtype].bytes
  if (first < 0 || end - first !== bytes || dataAt + end > fileBytes) {
    throw malformed(`"${name}" must have ${bytes} bytes inside of the file`)
  }
  return { dtype, shape: shape as number[], offset: dataAt + first, bytes }
}

function readMetadata(value: unknown): Record<string, string> {
  const isTexts = typeof value === 'object' && value !== null &&
    Object.values(value).every((entry) => typeof entry === 'string')
  if (!isTexts) throw malformed('__metadata__ must map names to texts')
  return value as Record<string, string>
}

function malformed(why: string, cause?: unknown): RpcError {
  return invalid(`Cannot read the safetensors file: ${why}`, { cause })
}
