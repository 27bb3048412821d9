import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../shared/base/random.ts'
import { bytesOf, packSum, unpackSum } from '../../../shared/training/wire_format.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'

const random = seededRandom(8)
const sum = Float32Array.from({ length: 1002 }, (_, i) => i < 1000 ? (random() - 0.5) * 10 ** (i % 5 - 3) : 12345.67)

describe('wire format', () => {
  it('fp32 keeps every bit', () => {
    expect(unpackSum('fp32', packSum('fp32', sum))).toEqual(sum)
  })

  it('fp16 and int8 keep loss and weight, and round the gradients within their steps', () => {
    const half = unpackSum('fp16', packSum('fp16', sum))
    const eighth = unpackSum('int8', packSum('int8', sum))
    for (const read of [half, eighth]) expect(read.subarray(1000)).toEqual(sum.subarray(1000))
    for (let i = 0; i < 1000; i++) {
      const value = sum[i] ?? 0
      // Half precision has 11 bits, and subnormals in steps of 2^-24.
      expect(Math.abs((half[i] ?? 0) - value)).toBeLessThanOrEqual(Math.abs(value) * 2 ** -11 + 2 ** -25)
      const block = sum.subarray(i - i % 256, Math.min(1000, i - i % 256 + 256))
      const largest = Math.max(...block.map(Math.abs))
      expect(Math.abs((eighth[i] ?? 0) - value)).toBeLessThanOrEqual(largest / 127 / 2 * 1.001)
    }
    expect(bytesOf(packSum('fp16', sum))).toBe(2 * 1000 + 8)
    expect(bytesOf(packSum('int8', sum))).toBe(1000 + 4 * 4 + 8)
  })

  it('int8 with error feedback loses nothing over time', () => {
    const residual = new Float32Array(1000)
    const total = new Float64Array(1000)
    for (let step = 0; step < 50; step++) {
      const read = unpackSum('int8', packSum('int8', sum, residual))
      for (let i = 0; i < 1000; i++) total[i] = (total[i] ?? 0) + (read[i] ?? 0)
    }
    // What is still owed is at most one rounding, however many steps there were.
    for (let i = 0; i < 1000; i++) {
      const owed = Math.abs((total[i] ?? 0) - 50 * (sum[i] ?? 0))
      const block = sum.subarray(i - i % 256, Math.min(1000, i - i % 256 + 256))
      expect(owed).toBeLessThanOrEqual(Math.max(...block.map(Math.abs)) / 127 * 1.1 + 1e-5)
    }
  })

  it('not finite stays not finite, so that it is refused', () => {
    const bad = sum.slice()
    bad[3] = Infinity
    for (const format of ['fp16', 'int8'] as const) {
      expect(unpackSum(format, packSum(format, bad)).every(Number.isFinite)).toBe(false)
    }
  })

  it('refuses tensors that are missing or of another type', () => {
    expect(() => unpackSum('fp32', {})).toThrow('"sum" must be float32, got nothing')
    const tail = Tensor.from('float32', [2], [0, 1])
    expect(() => unpackSum('fp16', { tail, half: tail })).toThrow('"half" must be float16, got float32')
    expect(
      unpackSum('int8', { tail, codes: Tensor.from('int8', [1], [1]), scales: Tensor.from('float32', [0], []) })[0],
    )
      .toBeNaN()
  })
})
