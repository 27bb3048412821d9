import * as z from 'zod'
import type { Bytes } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { wordIssue } from '../../../shared/base/schema_issue.ts'
import { dtypeOfOip, DTYPES } from '../../../shared/wire/dtype.ts'
import { invalid } from '../../../shared/wire/errors.ts'
import { fromJsonValues, product, Tensor, toJsonValues } from '../../../shared/wire/tensor.ts'
import type { ModelManifest } from '../../../shared/wire/signature.ts'
import type { InferCall, InferResult } from '../inference.ts'
import { classify } from './classification.ts'

/** The messages of `/v2/models/{m}/infer`, with Triton's extensions: binary tensor data, parameters, classification. */
const name = z.string().min(1).max(LIMITS.maxNameLength)
const size = z.number().int().nonnegative()
/** Memory that client and server share is not to be had over a network: to ignore the wish would answer with nothing. */
const notShared = z.undefined('shared memory is not supported').optional()
const inputParameters = z.looseObject({ binary_data_size: size.optional(), shared_memory_region: notShared })
const outputParameters = z.looseObject({
  binary_data: z.boolean().optional(),
  classification: size.optional(),
  shared_memory_region: notShared,
})
const requestParameters = z.looseObject({
  binary_data_output: z.boolean().optional(),
  /** As in Triton: 0 is the default, 1 comes first. The words are ours. */
  priority: z.union([size, z.enum(['high', 'normal'])]).optional(),
  /** Microseconds; 0 is the default. */
  timeout: size.optional(),
})
export const inferRequest = z.object({
  id: z.string().max(LIMITS.maxNameLength).optional(),
  parameters: requestParameters.optional(),
  inputs: z.array(z.object({
    name,
    shape: z.array(z.number()).max(LIMITS.maxRank),
    datatype: z.string(),
    parameters: inputParameters.optional(),
    data: z.array(z.unknown()).optional(),
  })).max(LIMITS.maxTensors),
  outputs: z.array(z.object({ name, parameters: outputParameters.optional() })).max(LIMITS.maxTensors).optional(),
})
type InferRequest = z.infer<typeof inferRequest>
type RequestedOutput = NonNullable<InferRequest['outputs']>[number]

export interface InferRequestBody extends Pick<InferCall, 'inputs' | 'outputs' | 'priority'> {
  id: string | undefined
  timeoutMs: number | undefined
  /** What was said of outputs one by one. */
  requested: ReadonlyMap<string, RequestedOutput['parameters']>
  /** Whether outputs of which nothing is said go as raw data. */
  binaryOutput: boolean
}

/**
 * @param raw the data behind the JSON, in the order of the inputs; tensors are views of it
 * @throws RpcError `invalid_argument` naming the field, or the input and what was expected of it
 */
export function readInferRequest(json: unknown, raw: Bytes): InferRequestBody {
  const parsed = inferRequest.safeParse(json)
  if (!parsed.success) {
    throw invalid(`Cannot read the request: ${wordIssue(parsed.error.issues[0])}`)
  }
  const { id, outputs, parameters = {} } = parsed.data
  const { priority, timeout, binary_data_output: binaryOutput = false } = parameters
  return {
    id,
    inputs: readInputs(parsed.data.inputs, raw),
    outputs: outputs?.map((output) => output.name),
    priority: priority === undefined || priority === 0
      ? undefined
      : priority === 1 || priority === 'high'
      ? 'high'
      : 'normal',
    timeoutMs: timeout ? timeout / 1000 : undefined,
    requested: new Map(outputs?.map((output) => [output.name, output.parameters])),
    binaryOutput,
  }
}

function readInputs(given: InferRequest['inputs'], raw: Bytes): Record<string, Tensor> {
  // Without a prototype: `__proto__` is then a name like any other.
  const inputs: Record<string, Tensor> = Object.create(null)
  let offset = 0
  for (const { name, shape, datatype, parameters, data } of given) {
    const dtype = dtypeOfOip(datatype)
    if (!dtype) {
      const known = Object.values(DTYPES).map(({ oip }) => oip).join(', ')
      throw invalid(`Cannot read input "${name}": datatype must be one of ${known}, got "${datatype}"`)
    }
    if (Object.hasOwn(inputs, name)) throw invalid(`Cannot read the request: input "${name}" is given twice`)
    const size = parameters?.binary_data_size
    if ((size === undefined) === (data === undefined)) {
      const got = data === undefined ? 'neither' : 'both'
      throw invalid(`Cannot read input "${name}": it must have data or the parameter binary_data_size, got ${got}`)
    }
    if (size !== undefined && offset + size > raw.byteLength) {
      throw invalid(
        `Cannot read input "${name}": binary_data_size must be at most the ${
          raw.byteLength - offset
        } bytes left behind the JSON, got ${size}`,
      )
    }
    try {
      inputs[name] = size === undefined
        ? fromJsonValues(dtype, shape, data)
        : new Tensor(dtype, shape, raw.subarray(offset, offset += size))
    } catch (thrown) {
      const reason = (thrown as Error).message.replace(/^Cannot (read|make) a (string )?tensor: /, '')
      throw invalid(`Cannot read input "${name}": ${reason}`)
    }
  }
  if (offset === raw.byteLength) return inputs
  throw invalid(
    `Cannot read the request: the binary_data_size of its inputs must add up to the ${raw.byteLength} bytes behind the JSON, got ${offset}`,
  )
}

/**
 * A body that is one tensor's data and nothing else, for models that leave no doubt about its shape: one input, at most one
 * free dimension beside the batch's, which is 1 then. All outputs go as raw data.
 */
export function readRawRequest({ name, signature }: ModelManifest, raw: Bytes): InferRequestBody {
  const [input, ...others] = signature.inputs
  const refuse = (why: string) => invalid(`Cannot run "${name}" on raw data: ${why} (describe the inputs in JSON)`)
  if (!input || others.length > 0) throw refuse(`it must have one input, got ${signature.inputs.length}`)
  const { bytes } = DTYPES[input.dtype]
  if (input.dtype === 'string') throw refuse('its input must have elements of fixed size, got BYTES')
  const shape = input.shape.map((size, axis) => axis === 0 && signature.batchable ? 1 : size)
  const free = shape.indexOf(-1)
  if (free >= 0) {
    if (shape.includes(-1, free + 1)) throw refuse(`its input must have one free dimension, got [${input.shape}]`)
    shape[free] = 0
    const fixed = product(shape.filter((_, axis) => axis !== free))
    shape[free] = Math.floor(raw.byteLength / (bytes * Math.max(1, fixed)))
  }
  const inputs = { [input.name]: new Tensor(input.dtype, shape, raw) }
  return {
    id: undefined,
    inputs,
    outputs: undefined,
    priority: undefined,
    timeoutMs: undefined,
    requested: new Map(),
    binaryOutput: true,
  }
}

/** @returns the JSON, and the raw data that follow it in the order of the outputs */
export function writeInferResponse(
  result: InferResult,
  { id, requested, binaryOutput }: Pick<InferRequestBody, 'id' | 'requested' | 'binaryOutput'>,
): { message: unknown; parts: Bytes[] } {
  const parts: Bytes[] = []
  const outputs = Object.entries(result.outputs).map(([output, whole]) => {
    const { binary_data: binary = binaryOutput, classification } = requested.get(output) ?? {}
    const tensor = classification ? classify(result.manifest, output, whole, classification) : whole
    const described = { name: output, datatype: DTYPES[tensor.dtype].oip, shape: tensor.shape }
    if (!binary) return { ...described, data: toJsonValues(tensor) }
    parts.push(tensor.bytes)
    return { ...described, parameters: { binary_data_size: tensor.bytes.byteLength } }
  })
  const message = {
    model_name: result.manifest.name,
    model_version: result.manifest.version,
    ...(id !== undefined && { id }),
    outputs,
  }
  return { message, parts }
}
