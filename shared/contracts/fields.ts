import * as z from 'zod'
import { LIMITS } from '../base/limits.ts'
import { DTYPE_LIST } from '../wire/dtype.ts'
import { Tensor } from '../wire/tensor.ts'

/** Fields that several contracts share. */
export const name = z.string().min(1).max(LIMITS.maxNameLength)
export function isName(value: unknown): boolean {
  return typeof value === 'string' && value.length > 0 && value.length <= LIMITS.maxNameLength
}

export const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hex digits')
/** What a worker computes on: `cpu` is native code, `wasm` the same operators as WebAssembly. */
export const device = z.enum(['webgpu', 'wasm', 'cpu'])
/** The most that fits a worker, in bytes; none where nothing is said. */
export const workerLimits = z.object({
  /** One tensor of a model's: a GPU's largest buffer. */
  maxTensorBytes: z.number().int().min(1).optional(),
  /** The file that holds a model's graph, with the weights that lie in it: a runtime reads it whole. */
  maxFileBytes: z.number().int().min(1).optional(),
  /** All of a model's files: what the worker's owner lends. */
  maxModelBytes: z.number().int().min(1).optional(),
})
export type WorkerLimits = z.infer<typeof workerLimits>
/** Sizes of runs, in rows, that a model is to be warmed up for. */
export const warmUpRows = z.array(z.int().min(1).max(LIMITS.maxBatch)).max(LIMITS.maxWarmUpSizes)
/** A tensor as it stands in JSON, for documents. */
const TENSOR_IN_JSON = {
  type: 'object',
  required: ['$tensor', 'shape', 'data'],
  properties: {
    $tensor: { enum: DTYPE_LIST },
    shape: { type: 'array', items: { type: 'integer', minimum: 0 }, maxItems: LIMITS.maxRank },
    data: { type: 'array', description: 'The elements in row-major order, flat or nested as the shape says' },
  },
}
export const tensor = z.custom<Tensor>((value) => value instanceof Tensor, 'expected a tensor').meta(TENSOR_IN_JSON)
/** What `tensors` takes. */
export function areTensors(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  let count = 0
  for (const key in value) {
    if (!((value as Record<string, unknown>)[key] instanceof Tensor) || key.length > LIMITS.maxNameLength) return false
    count++
  }
  return count <= LIMITS.maxTensors
}

/**
 * Tensors by name. One check and not a record of checks: this one stands on the hot path, where a record's copying and
 * its check for each entry cost more than the rest of the call's validation.
 */
export const tensors = z.custom<Record<string, Tensor>>((value) => typeof value === 'object' && value !== null, {
  error: 'expected tensors by name',
}).check(({ value: map, issues }) => {
  const issue = (message: string, path: string[]) => issues.push({ code: 'custom', message, path, input: map })
  let count = 0
  for (const key in map) {
    if (!(map[key] instanceof Tensor)) issue('expected a tensor', [key])
    if (key.length > LIMITS.maxNameLength) {
      issue(`expected a name of at most ${LIMITS.maxNameLength} characters`, [key.slice(0, LIMITS.maxNameLength)])
    }
    count++
  }
  if (count > LIMITS.maxTensors) issue(`expected at most ${LIMITS.maxTensors} tensors`, [])
}).meta({ type: 'object', additionalProperties: TENSOR_IN_JSON, maxProperties: LIMITS.maxTensors })
