import * as z from 'zod'
import { LIMITS } from '../base/limits.ts'
import { wordIssue } from '../base/schema_issue.ts'
import { warmUpRows } from '../contracts/fields.ts'
import { invalid } from '../wire/errors.ts'
import type { ModelLoop, ModelManifest, Signature } from '../wire/signature.ts'

const name = z.string().min(1).max(LIMITS.maxNameLength)

/** What whoever pushes a model says of it, beyond what its file says. It may be changed later; the bytes may not. */
export const modelOptions = z.strictObject({
  /** Names of what the model tells apart, in the order of its output. */
  labels: z.array(z.string().max(LIMITS.maxNameLength)).max(LIMITS.maxLabels).optional(),
  /** 'public' models may be computed by volunteers, who see weights and inputs. 'private' where nothing is said. */
  visibility: z.enum(['public', 'private']).optional(),
  /** Keeps answers, for callers who ask the same again. Null ends it. */
  cache: z.strictObject({
    ttlMs: z.number().int().min(1).max(LIMITS.maxResultTtlMs),
    maxBytes: z.number().int().min(1).max(LIMITS.maxResultCacheBytes),
  }).nullable().optional(),
  /**
   * How long a call may wait for others to share its run though a worker is free: more calls a second, each a little later.
   * 0 ends it.
   */
  maxQueueDelayUs: z.number().int().min(0).max(LIMITS.maxQueueDelayUs).optional(),
  /**
   * Sizes of runs, in rows along axis 0, that a worker makes on zeros when it has loaded the model: a GPU compiles for each
   * power of two, and the first run of each would be slow. None ends it.
   */
  warmUp: warmUpRows.optional(),
  /**
   * Whether calls may be joined along axis 0. Said of a model that leaves the axis unnamed, it is the author's word that
   * its rows are independent.
   */
  batch: z.boolean().optional(),
  /** Runs it again and again on its own outputs, for `shoal.Inference/generate`. Null ends it. */
  loop: z.strictObject({
    feed: z.record(name, name),
    emit: z.array(name).max(LIMITS.maxTensors).optional(),
    maxSteps: z.number().int().min(1).max(LIMITS.maxLoopSteps),
    stop: z.strictObject({ output: name, equals: z.number() }).optional(),
  }).nullable().optional(),
})
export type ModelOptions = z.infer<typeof modelOptions>

/** @throws RpcError `invalid_argument` naming the option */
export function readOptions(json: unknown): ModelOptions {
  const parsed = modelOptions.safeParse(json)
  if (parsed.success) return parsed.data
  throw invalid(`Cannot take the model's options: ${wordIssue(parsed.error.issues[0])}`)
}

/** A manifest with options changed; those that are not named stay. @throws RpcError `invalid_argument` for a false `batch` */
export function withOptions(
  manifest: ModelManifest,
  { labels, visibility, cache, batch, loop, maxQueueDelayUs, warmUp }: ModelOptions,
): ModelManifest {
  const { cache: kept, loop: keptLoop, ...rest } = manifest
  const wanted = cache === undefined ? kept : cache ?? undefined
  const loops = loop === undefined ? keptLoop : loop ?? undefined
  if (loop) checkLoop(manifest.signature, loop)
  return {
    ...rest,
    ...(batch !== undefined &&
      { signature: { ...manifest.signature, batchable: checkBatch(manifest.signature, batch) } }),
    ...(labels && { labels }),
    ...(visibility && { visibility }),
    ...(maxQueueDelayUs !== undefined && { maxQueueDelayUs: maxQueueDelayUs || undefined }),
    ...(warmUp && { warmUp: warmUp.length > 0 ? warmUp : undefined }),
    ...(wanted && { cache: wanted }),
    ...(loops && { loop: loops }),
  }
}

/** What is fed must fit where it goes; sizes that are free are looked at when it runs. */
function checkLoop({ inputs, outputs }: Signature, { feed, emit = [], stop }: ModelLoop): void {
  const known = outputs.map((output) => output.name)
  for (const output of [...Object.keys(feed), ...emit, ...(stop ? [stop.output] : [])]) {
    if (!known.includes(output)) throw refuseLoop(`its outputs are ${known.join(', ')}, got "${output}"`)
  }
  for (const [from, to] of Object.entries(feed)) {
    const output = outputs.find((one) => one.name === from)
    const input = inputs.find((one) => one.name === to)
    if (!input) throw refuseLoop(`its inputs are ${inputs.map((one) => one.name).join(', ')}, got "${to}"`)
    const fits = output?.dtype === input.dtype && output.shape.length === input.shape.length &&
      output.shape.every((size, axis) => size === -1 || input.shape[axis] === -1 || size === input.shape[axis])
    if (!fits) throw refuseLoop(`"${from}" must have the dtype and shape of "${to}", ${input.dtype} [${input.shape}]`)
  }
}

function refuseLoop(why: string) {
  return invalid(`Cannot loop the model: ${why}`)
}

function checkBatch({ inputs, outputs }: Signature, batch: boolean): boolean {
  const fixed = [...inputs, ...outputs].find(({ shape }) => shape[0] !== -1)
  if (!batch || !fixed) return batch
  throw invalid(
    `Cannot join calls of the model: axis 0 of every input and output must be free, got ${fixed.name} [${fixed.shape}]`,
  )
}
