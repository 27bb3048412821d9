import * as z from 'zod'
import type { Bytes } from '../base/bytes.ts'
import { name, sha256 } from '../contracts/fields.ts'
import { wireFormat } from '../contracts/training.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import { Tensor } from '../wire/tensor.ts'
import { readSafetensors, writeSafetensors } from './safetensors.ts'

const count = z.number().int().min(0)

const evaluation = z.object({
  step: count,
  loss: z.number(),
  /** Share of right answers; undefined where the loss knows no right or wrong. */
  accuracy: z.number().optional(),
})
export type Evaluation = z.infer<typeof evaluation>

/** What is known of a run beside its tensors: enough to see what it was, and to refuse to go on as another. */
const description = z.object({
  format: z.literal('shoal-checkpoint-1'),
  run: name,
  /** Fencing epoch of the coordinator that wrote it. */
  epoch: count,
  /** Steps committed. With the seed, all of the data's cursor. */
  step: count,
  /** Passes over the data that are complete. */
  dataEpoch: count,
  /** The forward model it began from. */
  model: sha256,
  opset: count,
  settings: z.object({
    loss: z.string(),
    batch: count,
    shards: count,
    seed: z.number().int(),
    format: wireFormat,
    validationRows: count,
  }),
  /** Name and settings of the optimizer, as JSON. */
  optimizer: z.string(),
  /** The training plan: graph, data, order. */
  plan: sha256,
  evaluations: z.array(evaluation),
})
export type CheckpointDescription = z.infer<typeof description>

export interface Checkpoint {
  readonly description: CheckpointDescription
  readonly parameters: Float32Array<ArrayBuffer>
  /** The optimizer's moments and counters by name. */
  readonly optimizer: Readonly<Record<string, Tensor>>
  /** Mean loss of each step so far. */
  readonly losses: Float64Array<ArrayBuffer>
}

const OPTIMIZER = 'optimizer.'
const KEY = 'shoal'

/** One safetensors file, its description as JSON in the metadata: any reader of the format can look into it. */
export function writeCheckpoint({ description, parameters, optimizer, losses }: Checkpoint): Bytes {
  const tensors: Record<string, Tensor> = {
    parameters: Tensor.from('float32', [parameters.length], parameters),
    losses: Tensor.from('float64', [losses.length], losses),
  }
  for (const [name, tensor] of Object.entries(optimizer)) tensors[OPTIMIZER + name] = tensor
  return writeSafetensors(tensors, { [KEY]: JSON.stringify(description) })
}

/** @throws RpcError `data_loss` if it is damaged */
export function readCheckpoint(file: Uint8Array): Checkpoint {
  try {
    const { tensors, metadata } = readSafetensors(file)
    const { parameters, losses } = tensors
    if (parameters?.dtype !== 'float32' || losses?.dtype !== 'float64') {
      throw invalid('Cannot read the checkpoint: it must hold "parameters" (float32) and "losses" (float64)')
    }
    const optimizer = Object.entries(tensors).filter(([name]) => name.startsWith(OPTIMIZER))
    return {
      description: description.parse(JSON.parse(metadata[KEY] ?? '')),
      // Copies: training writes into them.
      parameters: (parameters as Tensor<'float32'>).data.slice() as Float32Array<ArrayBuffer>,
      optimizer: Object.fromEntries(optimizer.map(([name, tensor]) => [name.slice(OPTIMIZER.length), tensor])),
      losses: (losses as Tensor<'float64'>).data.slice() as Float64Array<ArrayBuffer>,
    }
  } catch (cause) {
    throw new RpcError('data_loss', 'Cannot read the checkpoint: it must be one that training has written', { cause })
  }
}

/** @throws RpcError `failed_precondition` naming the first setting in which a checkpoint and this run differ */
export function checkSameRun(
  checkpoint: CheckpointDescription,
  run: Omit<CheckpointDescription, 'epoch' | 'step'>,
): void {
  const pairs: [string, unknown, unknown][] = [
    ['model', checkpoint.model, run.model],
    ['optimizer', checkpoint.optimizer, run.optimizer],
    ...Object.entries(run.settings).map(([key, value]): [string, unknown, unknown] => [
      key,
      checkpoint.settings[key as keyof typeof run.settings],
      value,
    ]),
    ['data and graph', checkpoint.plan, run.plan],
  ]
  const odd = pairs.find(([, was, is]) => was !== is)
  if (!odd) return
  const [what, was, is] = odd
  throw new RpcError(
    'failed_precondition',
    `Cannot resume run "${run.run}": its ${what} must be ${was} as in the checkpoint, got ${is}`,
  )
}
