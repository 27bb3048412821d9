import { LIMITS } from '../base/limits.ts'
import type { NumericDType } from '../wire/dtype.ts'
import { DTYPES } from '../wire/dtype.ts'
import { invalid } from '../wire/errors.ts'
import { product, Tensor } from '../wire/tensor.ts'

/** Element types of the IDX format, in which MNIST comes: http://yann.lecun.com/exdb/mnist/ */
const TYPES: Readonly<Record<number, NumericDType>> = {
  0x08: 'uint8',
  0x09: 'int8',
  0x0b: 'int16',
  0x0c: 'int32',
  0x0d: 'float32',
  0x0e: 'float64',
}

/** True if a file begins as an IDX file, or as a gzip file that may hold one. */
export function isIdx(file: Uint8Array): boolean {
  return isGzip(file) || (file[0] === 0 && file[1] === 0 && TYPES[file[2] ?? 0] !== undefined)
}

/**
 * Reads an IDX file, gzipped or not.
 * @throws RpcError `invalid_argument` if it is none, or its sizes and its length do not agree
 */
export async function readIdx(file: Uint8Array): Promise<Tensor> {
  const bytes = isGzip(file) ? await gunzip(file) : file
  const dtype = bytes[0] === 0 && bytes[1] === 0 ? TYPES[bytes[2] ?? 0] : undefined
  const rank = bytes[3] ?? 0
  if (!dtype || rank === 0 || rank > LIMITS.maxRank || bytes.byteLength < 4 + 4 * rank) {
    throw invalid('Cannot read the IDX file: it must begin with two zero bytes, a type and a number of dimensions')
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis))
  const data = bytes.subarray(4 + 4 * rank)
  const size = DTYPES[dtype].bytes
  if (product(shape) * size !== data.byteLength) {
    throw invalid(
      `Cannot read the IDX file: shape [${shape}] must have ${product(shape) * size} bytes, got ${data.byteLength}`,
    )
  }
  return new Tensor(dtype, shape, size === 1 ? data : swapped(data, size))
}

/** IDX is big-endian. */
function swapped(data: Uint8Array, size: number): Uint8Array {
  const little = new Uint8Array(data.byteLength)
  for (let at = 0; at < data.byteLength; at += size) {
    for (let i = 0; i < size; i++) little[at + i] = data[at + size - 1 - i] ?? 0
  }
  return little
}

function isGzip(file: Uint8Array): boolean {
  return file[0] === 0x1f && file[1] === 0x8b
}

async function gunzip(file: Uint8Array): Promise<Uint8Array> {
  try {
    const stream = new Blob([file as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream('gzip'))
    return new Uint8Array(await new Response(stream).arrayBuffer())
  } catch (cause) {
    throw invalid('Cannot read the IDX file: its gzip data are damaged', { cause })
  }
}
