import type { WireFormat } from '../contracts/training.ts'
import { invalid } from '../wire/errors.ts'
import { Tensor } from '../wire/tensor.ts'

/** Values that share one int8 scale: a few outliers then coarsen no more than their neighbours. */
const BLOCK = 256
/** Loss and sample weight stand at the end of every sum and are never rounded. */
const TAIL = 2

/**
 * A sum as it travels. 'fp32' is exact. 'fp16' rounds gradients to half precision. 'int8' rounds them to 255 levels per
 * block of 256 and carries the rounding error over to the next step (error feedback): neither gives the exact weights.
 * @param residual what int8 left out at the last step, updated in place; zeros at first
 */
export function packSum(format: WireFormat, sum: Float32Array, residual?: Float32Array): Record<string, Tensor> {
  if (format === 'fp32') return { sum: Tensor.from('float32', [sum.length], sum) }
  const count = Math.max(0, sum.length - TAIL)
  const tail = Tensor.from('float32', [sum.length - count], sum.slice(count))
  if (format === 'fp16') {
    return { half: Tensor.from('float16', [count], new Float16Array(sum.subarray(0, count))), tail }
  }
  const scales = new Float32Array(Math.ceil(count / BLOCK))
  const codes = new Int8Array(count)
  for (let block = 0; block < scales.length; block++) {
    const end = Math.min(count, (block + 1) * BLOCK)
    let largest = 0
    for (let i = block * BLOCK; i < end; i++) {
      const value = (sum[i] ?? 0) + (residual?.[i] ?? 0)
      if (residual) residual[i] = value
      largest = Math.max(largest, Math.abs(value))
    }
    const scale = Math.fround(largest / 127)
    scales[block] = scale
    for (let i = block * BLOCK; i < end; i++) {
      const value = residual ? residual[i] ?? 0 : sum[i] ?? 0
      const code = scale > 0 ? Math.max(-127, Math.min(127, Math.round(value / scale))) : 0
      codes[i] = code
      if (residual) residual[i] = value - code * scale
    }
  }
  return {
    codes: Tensor.from('int8', [count], codes),
    scales: Tensor.from('float32', [scales.length], scales),
    tail,
  }
}

/**
 * Reads a sum back. Its length is the caller's to check, and whether its values are finite.
 * @throws RpcError `invalid_argument` if tensors are missing or of the wrong type
 */
export function unpackSum(format: WireFormat, tensors: Readonly<Record<string, Tensor>>): Float32Array {
  if (format === 'fp32') return dataOf(tensors, 'sum', 'float32')
  const tail = dataOf(tensors, 'tail', 'float32')
  if (format === 'fp16') {
    const half = dataOf(tensors, 'half', 'float16')
    const sum = new Float32Array(half.length + tail.length)
    sum.set(half)
    sum.set(tail, half.length)
    return sum
  }
  const codes = dataOf(tensors, 'codes', 'int8')
  const scales = dataOf(tensors, 'scales', 'float32')
  const sum = new Float32Array(codes.length + tail.length)
  for (let i = 0; i < codes.length; i++) sum[i] = (codes[i] ?? 0) * (scales[Math.floor(i / BLOCK)] ?? NaN)
  sum.set(tail, codes.length)
  return sum
}

export function bytesOf(tensors: Readonly<Record<string, Tensor>>): number {
  let total = 0
  for (const name in tensors) total += tensors[name]?.bytes.byteLength ?? 0
  return total
}

function dataOf<D extends 'float32' | 'float16' | 'int8'>(
  tensors: Readonly<Record<string, Tensor>>,
  name: string,
  dtype: D,
): Tensor<D>['data'] {
  const tensor = tensors[name]
  if (tensor?.dtype === dtype) return (tensor as Tensor<D>).data
  throw invalid(`Cannot read the sum: "${name}" must be ${dtype}, got ${tensor?.dtype ?? 'nothing'}`)
}
