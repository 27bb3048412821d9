import { describe, expect, it } from 'vitest'
import { areSuspect, differenceOf, drawInputs } from '../../../shared/engine/golden.ts'
import type { DType } from '../../../shared/wire/dtype.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'

const y = (data: readonly number[], dtype: DType = 'float32') => ({ y: Tensor.from(dtype, [data.length], data) })
const spec = (dtype: DType, shape: number[]) => ({ name: 'x', dtype, shape, axes: shape.map(() => '') })

describe('inputs that devices are compared on', () => {
  it('are alike for a seed, and fill every free dimension', () => {
    const draw = () => drawInputs([spec('float32', [-1, 3, -1]), spec('int64', [2])], { free: 8, zeros: false }, 1)
    expect(draw()).toEqual(draw())
    const [x] = Object.values(drawInputs([spec('float32', [-1, 3, -1])], { free: 8, zeros: false }, 1) ?? {})
    expect(x?.shape).toEqual([1, 3, 8])
    expect(new Set(x?.data as Float32Array).size).toBe(24)
  })

  it('are indices where they are whole, and nothing where they would be enormous', () => {
    const [x] = Object.values(drawInputs([spec('int64', [64])], { free: 1, zeros: false }, 1) ?? {})
    expect([...new Set(x?.data as BigInt64Array)].sort()).toEqual([0n, 1n])
    expect(drawInputs([spec('float32', [1 << 20, 1 << 20])], { free: 1, zeros: false }, 1)).toBeUndefined()
  })
})

describe('two devices', () => {
  it('may round differently, and overflow differently', () => {
    expect(differenceOf(y([1, 100, NaN]), y([1.5, 99.5, 0]))).toBeUndefined()
    expect(differenceOf(y([3, 250], 'uint8'), y([4, 249], 'uint8'))).toBeUndefined()
    expect(differenceOf(y([1, 2], 'float16'), y([1.0625, 2], 'float16'))).toBeUndefined()
  })

  it('differ by what is of the size of the numbers', () => {
    expect(differenceOf(y([1, -2]), y([1, 2]))).toBe('output "y" must be -2 at 1, got 2')
    expect(differenceOf(y([1, -2]), y([NaN, -2]))).toBe('output "y" must be 1 at 0, got NaN')
    expect(differenceOf(y([1, -2]), y([0, 0]))).toBe('output "y" must be 1 at 0, got 0')
    expect(differenceOf(y([3], 'int64'), y([4], 'int64'))).toBe('output "y" must be 3 at 0, got 4')
    expect(differenceOf(y([1, 2]), {})).toBe('output "y" is missing')
    expect(differenceOf(y([1, 2]), y([1, 2, 3]))).toBe('output "y" is float32 [3]')
  })
})

it('answers are odd that are all zero or not finite', () => {
  expect(areSuspect(y([0, -0, 0]))).toBe(true)
  expect(areSuspect(y([1, NaN]))).toBe(true)
  expect(areSuspect(y([Infinity, 1]))).toBe(true)
  expect(areSuspect(y([0, -1]))).toBe(false)
  expect(areSuspect(y([3e38, 3e38]))).toBe(false)
  expect(areSuspect(y([0, 0], 'int64'))).toBe(false)
})
