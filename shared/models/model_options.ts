import * as z from 'zod'
import { LIMITS } from '../base/limits.ts'
import { invalid } from '../wire/errors.ts'
import type { ModelManifest, Signature } from '../wire/signature.ts'

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
   * Whether calls may be joined along axis 0. Said of a model that leaves the axis unnamed, it is the author's word that
   * its rows are independent.
   */
  batch: z.boolean().optional(),
})
export type ModelOptions = z.infer<typeof modelOptions>

/** @throws RpcError `invalid_argument` naming the option */
export function readOptions(json: unknown): ModelOptions {
  const parsed = modelOptions.safeParse(json)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw invalid(`Cannot take the model's options: at "${issue?.path.join('.')}": ${issue?.message}`)
}

/** A manifest with options changed; those that are not named stay. @throws RpcError `invalid_argument` for a false `batch` */
export function withOptions(
  manifest: ModelManifest,
  { labels, visibility, cache, batch }: ModelOptions,
): ModelManifest {
  const { cache: kept, ...rest } = manifest
  const wanted = cache === undefined ? kept : cache ?? undefined
  return {
    ...rest,
    ...(batch !== undefined &&
      { signature: { ...manifest.signature, batchable: checkBatch(manifest.signature, batch) } }),
    ...(labels && { labels }),
    ...(visibility && { visibility }),
    ...(wanted && { cache: wanted }),
  }
}

function checkBatch({ inputs, outputs }: Signature, batch: boolean): boolean {
  const fixed = [...inputs, ...outputs].find(({ shape }) => shape[0] !== -1)
  if (!batch || !fixed) return batch
  throw invalid(
    `Cannot join calls of the model: axis 0 of every input and output must be free, got ${fixed.name} [${fixed.shape}]`,
  )
}
