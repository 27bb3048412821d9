import * as z from 'zod'
import { LIMITS } from '../base/limits.ts'
import { Tensor } from '../wire/tensor.ts'

/** Fields that several contracts share. */
export const name = z.string().min(1).max(LIMITS.maxNameLength)
export const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hex digits')
export const tensor = z.custom<Tensor>((value) => value instanceof Tensor, 'expected a tensor')
export const tensors = z.record(z.string().max(LIMITS.maxNameLength), tensor)
  .refine((map) => Object.keys(map).length <= LIMITS.maxTensors, `expected at most ${LIMITS.maxTensors} tensors`)
