import * as z from 'zod'
import { LIMITS } from '../../../shared/base/limits.ts'
import { dtypeOfOip, DTYPES } from '../../../shared/wire/dtype.ts'
import { invalid } from '../../../shared/wire/errors.ts'
import { fromJsonValues, type Tensor, toJsonValues } from '../../../shared/wire/tensor.ts'
import type { InferResult } from '../inference.ts'

/** The JSON bodies of `/v2/models/{m}/infer`. */
const name = z.string().min(1).max(LIMITS.maxNameLength)
const inferRequest = z.object({
  id: z.string().max(LIMITS.maxNameLength).optional(),
  parameters: z.record(z.string(), z.unknown()).optional(),
  inputs: z.array(z.object({
    name,
    shape: z.array(z.number()).max(LIMITS.maxRank),
    datatype: z.string(),
    parameters: z.record(z.string(), z.unknown()).optional(),
    data: z.array(z.unknown()),
  })).max(LIMITS.maxTensors),
  outputs: z.array(z.object({ name, parameters: z.record(z.string(), z.unknown()).optional() })).max(LIMITS.maxTensors)
    .optional(),
})

export interface InferRequestBody {
  id: string | undefined
  inputs: Record<string, Tensor>
  outputs: string[] | undefined
}

/** @throws RpcError `invalid_argument` naming the field, or the input and what was expected of it */
export function readInferRequest(json: unknown): InferRequestBody {
  const parsed = inferRequest.safeParse(json)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw invalid(`Cannot read the request: at "${issue?.path.join('.')}": ${issue?.message}`)
  }
  // Without a prototype: `__proto__` is then a name like any other.
  const inputs: Record<string, Tensor> = Object.create(null)
  for (const { name, shape, datatype, data } of parsed.data.inputs) {
    const dtype = dtypeOfOip(datatype)
    if (!dtype) {
      const known = Object.values(DTYPES).map(({ oip }) => oip).join(', ')
      throw invalid(`Cannot read input "${name}": datatype must be one of ${known}, got "${datatype}"`)
    }
    if (Object.hasOwn(inputs, name)) throw invalid(`Cannot read the request: input "${name}" is given twice`)
    try {
      inputs[name] = fromJsonValues(dtype, shape, data)
    } catch (thrown) {
      throw invalid(
        `Cannot read input "${name}": ${
          (thrown as Error).message.replace(/^Cannot (read|make) a (string )?tensor: /, '')
        }`,
      )
    }
  }
  return { id: parsed.data.id, inputs, outputs: parsed.data.outputs?.map((output) => output.name) }
}

export function writeInferResponse(result: InferResult, id: string | undefined) {
  return {
    model_name: result.manifest.name,
    model_version: result.manifest.version,
    ...(id !== undefined && { id }),
    outputs: Object.entries(result.outputs).map(([output, tensor]) => ({
      name: output,
      datatype: DTYPES[tensor.dtype].oip,
      shape: tensor.shape,
      data: toJsonValues(tensor),
    })),
  }
}
