import { LIMITS } from '../base/limits.ts'
import { type Random, seededRandom } from '../base/random.ts'
import { type DType, DTYPES } from '../wire/dtype.ts'
import type { TensorSpec } from '../wire/signature.ts'
import { product, Tensor } from '../wire/tensor.ts'

export type Tensors = Record<string, Tensor>

/** Inputs, and what a device that can be trusted answers to them. */
export interface Golden {
  readonly inputs: Tensors
  readonly outputs: Tensors
}

/** Draws tried in turn until a model accepts one: pictures and texts of some size, then of the least, then zeros. */
export const DRAWS = [
  { free: 8, zeros: false },
  { free: 1, zeros: false },
  { free: 1, zeros: true },
] as const

/**
 * Inputs to compare two devices by: floats uniform in [-1, 1), integers and booleans 0 or 1, so that they may be indices.
 * @param draw `free` is the size of every free dimension but axis 0, which is 1
 * @returns undefined if they would take more than LIMITS.maxWarmUpBytes: the shapes are the model's word
 */
export function drawInputs(
  specs: readonly TensorSpec[],
  draw: { free: number; zeros: boolean },
  seed: number,
): Tensors | undefined {
  const random = seededRandom(seed)
  const inputs: Tensors = {}
  let total = 0
  for (const { name, dtype, shape } of specs) {
    const sizes = shape.map((size, axis) => size >= 0 ? size : axis === 0 ? 1 : draw.free)
    // A string takes at least the four bytes of its length.
    total += product(sizes) * (DTYPES[dtype].bytes || 4)
    if (total > LIMITS.maxWarmUpBytes) return undefined
    inputs[name] = drawTensor(dtype, sizes, draw.zeros ? undefined : random)
  }
  return inputs
}

/**
 * Where a device's outputs are not what they must be, in words; undefined where they agree. Devices round differently, and
 * so the bounds are wide: faults of kernels are of the size of the numbers themselves.
 */
export function differenceOf(expected: Tensors, actual: Tensors): string | undefined {
  for (const name in expected) {
    const [wanted, given] = [expected[name], actual[name]]
    if (!wanted) continue
    if (!given || given.dtype !== wanted.dtype || String(given.shape) !== String(wanted.shape)) {
      return `output "${name}" is ${given ? `${given.dtype} [${given.shape}]` : 'missing'}`
    }
    const difference = isFloat(wanted.dtype) ? floatDifference(wanted, given) : otherDifference(wanted, given)
    if (difference) return `output "${name}" ${difference}`
  }
  return undefined
}

/** True if every number of every output is 0, or some are not finite: what a broken device is wont to answer. */
export function areSuspect(outputs: Tensors): boolean {
  let nothing = true
  for (const name in outputs) {
    const tensor = outputs[name]
    if (!tensor || tensor.size === 0) continue
    if (!isFloat(tensor.dtype)) return false
    // The sum is finite where all are, but for numbers that no model means.
    let [sum, greatest] = [0, 0]
    for (const value of tensor.data as Float32Array) {
      sum += value
      if (value > greatest) greatest = value
      else if (-value > greatest) greatest = -value
    }
    if (!Number.isFinite(sum)) return true
    if (greatest > 0) nothing = false
  }
  return nothing
}

/** Part of an output's greatest number by which devices may differ. Measured on WebGPU: 1e-6, and 1e-3 in half precision. */
const TOLERANCE: Partial<Record<DType, number>> = { float16: 5e-2, float32: 1e-2, float64: 1e-2 }
/** Beneath this, numbers are what is left of others that cancelled out. */
const NOISE = 1e-5
/** Part of an output of integers or booleans that may differ: rounding tips some of them over. */
const TIPPED = 0.01

function floatDifference(wanted: Tensor, given: Tensor): string | undefined {
  const [expected, actual] = [wanted.data as Float32Array, given.data as Float32Array]
  let scale = 0
  for (const value of expected) if (Number.isFinite(value)) scale = Math.max(scale, Math.abs(value))
  const allowed = (TOLERANCE[wanted.dtype] ?? 0) * scale + NOISE
  for (let i = 0; i < expected.length; i++) {
    const [right, got] = [expected[i] ?? NaN, actual[i] ?? NaN]
    // What is no number is beyond comparison: devices need not agree on how they overflow.
    if (!Number.isFinite(right)) continue
    if (!(Math.abs(got - right) <= allowed)) return `must be ${right} at ${i}, got ${got}`
  }
  return undefined
}

function otherDifference(wanted: Tensor, given: Tensor): string | undefined {
  const [expected, actual] = [wanted.data as ArrayLike<unknown>, given.data as ArrayLike<unknown>]
  // Quantized numbers are rounded last: one step to either side.
  const isNear = (i: number) =>
    DTYPES[wanted.dtype].bytes === 1 && wanted.dtype !== 'bool' && Math.abs(Number(expected[i]) - Number(actual[i])) < 2
  let [wrong, first] = [0, 0]
  for (let i = 0; i < expected.length; i++) {
    if (expected[i] !== actual[i] && !isNear(i) && wrong++ === 0) first = i
  }
  if (wrong <= expected.length * TIPPED) return undefined
  return `must be ${expected[first]} at ${first}, got ${actual[first]}`
}

function isFloat(dtype: DType): boolean {
  return TOLERANCE[dtype] !== undefined
}

function drawTensor(dtype: DType, shape: readonly number[], random: Random | undefined): Tensor {
  const count = product(shape)
  const { array, bytes } = DTYPES[dtype]
  if (!array) return new Tensor(dtype, shape, new Uint8Array(4 * count))
  const data = new Uint8Array(count * bytes)
  if (!random) return new Tensor(dtype, shape, data)
  const values = new array(data.buffer)
  const draw = isFloat(dtype) ? () => 2 * random() - 1 : () => Math.floor(2 * random())
  const isBig = dtype === 'int64' || dtype === 'uint64'
  for (let i = 0; i < count; i++) values[i] = (isBig ? BigInt(draw()) : draw()) as never
  return new Tensor(dtype, shape, data)
}
