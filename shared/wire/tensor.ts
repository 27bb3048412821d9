import { type Bytes, decodeUtf8, encodeUtf8 } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { kindOf, show } from '../base/show.ts'
import { type DataOf, type DType, DTYPE_LIST, DTYPES, isDType, type NumericDType } from './dtype.ts'
import { invalid } from './errors.ts'

/**
 * An n-dimensional array as it travels: dtype, shape and raw little-endian row-major bytes.
 * The bytes are a view of whatever they arrived in; `data` copies only if that view is not aligned.
 */
export class Tensor<D extends DType = DType> {
  readonly dtype: D
  readonly shape: readonly number[]
  readonly bytes: Bytes

  /** @throws RpcError `invalid_argument` if dtype, shape and byte length do not agree */
  constructor(dtype: D, shape: readonly number[], bytes: Uint8Array) {
    const count = elementCount(dtype, shape)
    if (dtype === 'string') checkStrings(bytes, count)
    else if (bytes.byteLength !== count * DTYPES[dtype].bytes) {
      throw invalid(
        `Cannot make a tensor: ${dtype} of shape [${shape}] must have ${
          count * DTYPES[dtype].bytes
        } bytes, got ${bytes.byteLength}`,
      )
    }
    this.dtype = dtype
    this.shape = shape
    this.bytes = bytes as Bytes
  }

  /**
   * A tensor of `values`: a typed array is used in place, anything else is converted.
   * @throws RpcError `invalid_argument` if a value does not fit the dtype or their number does not fit the shape
   */
  static from<D extends DType>(
    dtype: D,
    shape: readonly number[],
    values: ArrayLike<number | bigint | boolean | string>,
  ): Tensor<D> {
    const count = elementCount(dtype, shape)
    if (values.length !== count) {
      throw invalid(`Cannot make a tensor: shape [${shape}] must have ${count} elements, got ${values.length}`)
    }
    if (dtype === 'string') return new Tensor(dtype, shape, packStrings(values as ArrayLike<string>))
    const array = ArrayBuffer.isView(values) && values instanceof arrayType(dtype) ? values : arrayFrom(dtype, values)
    return new Tensor(dtype, shape, new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
  }

  /** The elements: a view of `bytes` where aligned, else a copy. Strings are decoded anew on each read. */
  get data(): DataOf<D> {
    if (this.dtype === 'string') return unpackStrings(this.bytes) as DataOf<D>
    const { bytes: size, array } = DTYPES[this.dtype as NumericDType]
    // Not `slice`: a Node Buffer's slice is a view, as misaligned as before.
    const source = this.bytes.byteOffset % size === 0 ? this.bytes : new Uint8Array(this.bytes)
    return new array(source.buffer, source.byteOffset, source.byteLength / size) as unknown as DataOf<D>
  }

  /** Elements in all dimensions together. */
  get size(): number {
    return product(this.shape)
  }

  /** The JSON form: 64-bit integers as strings, non-finite numbers by name. */
  toJSON(): { $tensor: D; shape: readonly number[]; data: unknown[] } {
    return { $tensor: this.dtype, shape: this.shape, data: toJsonValues(this) }
  }
}

/** A tensor's elements as JSON can hold them without loss. */
export function toJsonValues(tensor: Tensor): unknown[] {
  if (tensor.dtype === 'string') return unpackStrings(tensor.bytes)
  if (tensor.dtype === 'bool') return Array.from(tensor.bytes, (byte) => byte !== 0)
  const data = tensor.data
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    return Array.from(data, (value) => Number.isSafeInteger(Number(value)) ? Number(value) : String(value))
  }
  return Array.from(data as Float32Array, (value) => Number.isFinite(value) ? value : String(value))
}

/** Reads the JSON form of a tensor's elements. */
export function fromJsonValues(dtype: DType, shape: readonly number[], values: unknown): Tensor {
  if (!Array.isArray(values)) throw invalid(`Cannot read a tensor: data must be an array, got ${kindOf(values)}`)
  // Before `flatten`, which walks as many levels as the shape claims.
  elementCount(dtype, shape)
  return Tensor.from(dtype, shape, isFlat(values) ? values : flatten(values, shape))
}

/** @throws RpcError unless `shape` is a list of whole numbers ≥ 0 whose product is exact */
export function elementCount(dtype: DType, shape: readonly number[]): number {
  if (!isDType(dtype)) {
    throw invalid(`Cannot read a tensor: dtype must be one of ${DTYPE_LIST.join(', ')}, got ${show(dtype)}`)
  }
  if (!Array.isArray(shape) || shape.length > LIMITS.maxRank) {
    throw invalid(`Cannot read a tensor: shape must be a list of at most ${LIMITS.maxRank} sizes, got ${show(shape)}`)
  }
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) {
      throw invalid(`Cannot read a tensor: each size must be a whole number from 0 up, got ${show(shape)}`)
    }
  }
  const count = product(shape)
  if (!Number.isSafeInteger(count)) {
    throw invalid(`Cannot read a tensor: shape must have at most 2^53 - 1 elements, got ${show(shape)}`)
  }
  return count
}

export function product(shape: readonly number[]): number {
  let count = 1
  for (const size of shape) count *= size
  return count
}

function arrayType(dtype: NumericDType) {
  return DTYPES[dtype].array
}

function arrayFrom(dtype: NumericDType, values: ArrayLike<unknown>): ArrayBufferView<ArrayBuffer> {
  const array = new (arrayType(dtype))(values.length)
  const convert = converter(dtype)
  for (let i = 0; i < values.length; i++) array[i] = convert(values[i], i)
  return array
}

const INTEGER_RANGE: Partial<Record<DType, readonly [number, number]>> = {
  uint8: [0, 2 ** 8 - 1],
  int8: [-(2 ** 7), 2 ** 7 - 1],
  uint16: [0, 2 ** 16 - 1],
  int16: [-(2 ** 15), 2 ** 15 - 1],
  uint32: [0, 2 ** 32 - 1],
  int32: [-(2 ** 31), 2 ** 31 - 1],
}

const FLOAT_ROUND: Partial<Record<DType, (value: number) => number>> = { float16: Math.f16round, float32: Math.fround }

/** Checks and converts one element; a value that the dtype cannot hold exactly is refused, not wrapped. */
function converter(dtype: NumericDType): (value: unknown, index: number) => never {
  const refuse = (value: unknown, index: number) =>
    invalid(`Cannot read a tensor: element ${index} must be ${describe(dtype)}, got ${show(value)}`)
  if (dtype === 'bool') {
    return (value, index) => {
      if (value === true || value === 1) return 1 as never
      if (value === false || value === 0) return 0 as never
      throw refuse(value, index)
    }
  }
  if (dtype === 'int64' || dtype === 'uint64') {
    return (value, index) => toBigInt(value, dtype) as never ?? fail(refuse(value, index))
  }
  const range = INTEGER_RANGE[dtype]
  if (range) {
    return (value, index) => {
      if (Number.isInteger(value) && (value as number) >= range[0] && (value as number) <= range[1]) {
        return value as never
      }
      throw refuse(value, index)
    }
  }
  const round = FLOAT_ROUND[dtype]
  return (value, index) => {
    // Rounding is what a float does; a finite number that would become infinite is out of range.
    if (
      typeof value === 'number' && (round === undefined || Number.isFinite(round(value)) || !Number.isFinite(value))
    ) {
      return value as never
    }
    if (value === 'NaN' || value === 'Infinity' || value === '-Infinity') return Number(value) as never
    throw refuse(value, index)
  }
}

function toBigInt(value: unknown, dtype: 'int64' | 'uint64'): bigint | undefined {
  const exact = typeof value === 'bigint' ||
    (typeof value === 'number' && Number.isSafeInteger(value)) ||
    (typeof value === 'string' && /^-?\d{1,20}$/.test(value))
  if (!exact) return undefined
  const integer = BigInt(value as string)
  const wrapped = dtype === 'int64' ? BigInt.asIntN(64, integer) : BigInt.asUintN(64, integer)
  return wrapped === integer ? integer : undefined
}

function describe(dtype: DType): string {
  if (dtype === 'bool') return 'true or false'
  if (dtype === 'int64' || dtype === 'uint64') return `an exact ${dtype} (as a string beyond 2^53)`
  const range = INTEGER_RANGE[dtype]
  return range ? `a whole number from ${range[0]} to ${range[1]}` : `a number that ${dtype} can hold`
}

function isFlat(values: readonly unknown[]): boolean {
  return !Array.isArray(values[0])
}

/** Flattens nested arrays, which must follow `shape` exactly. */
function flatten(values: readonly unknown[], shape: readonly number[]): unknown[] {
  const flat: unknown[] = []
  const visit = (part: unknown, axis: number) => {
    if (axis === shape.length) return void flat.push(part)
    if (!Array.isArray(part) || part.length !== shape[axis]) {
      throw invalid(
        `Cannot read a tensor: nested data must follow shape [${shape}], got ${
          Array.isArray(part) ? `${part.length} entries` : kindOf(part)
        } on axis ${axis}`,
      )
    }
    for (const inner of part) visit(inner, axis + 1)
  }
  visit(values, 0)
  return flat
}

function packStrings(values: ArrayLike<string>): Bytes {
  const encoded = Array.from(values, (value, index) => {
    // A lone surrogate has no UTF-8 form and would silently become U+FFFD.
    if (typeof value !== 'string' || !value.isWellFormed()) {
      throw invalid(`Cannot read a tensor: element ${index} must be a string of valid Unicode, got ${show(value)}`)
    }
    return encodeUtf8(value)
  })
  const packed = new Uint8Array(encoded.reduce((total, bytes) => total + 4 + bytes.length, 0))
  const view = new DataView(packed.buffer)
  let offset = 0
  for (const bytes of encoded) {
    view.setUint32(offset, bytes.length, true)
    packed.set(bytes, offset + 4)
    offset += 4 + bytes.length
  }
  return packed
}

function unpackStrings(packed: Uint8Array): string[] {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength)
  const values: string[] = []
  for (let offset = 0; offset < packed.length;) {
    const length = view.getUint32(offset, true)
    values.push(decodeUtf8(packed.subarray(offset + 4, offset + 4 + length)))
    offset += 4 + length
  }
  return values
}

function checkStrings(packed: Uint8Array, count: number): void {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength)
  let offset = 0
  let found = 0
  while (offset < packed.length && found <= count) {
    const end = offset + 4 <= packed.length ? offset + 4 + view.getUint32(offset, true) : Infinity
    if (end > packed.length) {
      const left = packed.length - offset - 4
      const got = left < 0 ? `${left + 4} bytes of a length` : `a length of ${end - offset - 4} with ${left} bytes left`
      throw invalid(`Cannot read a string tensor: a length runs past the end of its bytes, got ${got}`)
    }
    try {
      decodeUtf8(packed.subarray(offset + 4, end))
    } catch (cause) {
      throw invalid(`Cannot read a string tensor: element ${found} must be valid UTF-8, got bytes that are not`, {
        cause,
      })
    }
    offset = end
    found++
  }
  if (found !== count) throw invalid(`Cannot read a string tensor: shape asks for ${count} elements, got ${found}`)
}

function fail(error: Error): never {
  throw error
}
