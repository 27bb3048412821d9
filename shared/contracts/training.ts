import * as z from 'zod'
import { LIMITS } from '../base/limits.ts'
import { defineService, unary } from '../rpc/contract.ts'
import { name, sha256, tensor, tensors } from './fields.ts'

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)

/** What a result must match to be used: anything older, or of another coordinator, is refused. */
export const fence = z.object({
  run: name,
  /** Fencing token: each coordinator that takes a run over has a higher one. */
  epoch: count,
  step: count,
  /** SHA-256 of the parameters that the gradients are of. */
  parameters: sha256,
})
export type Fence = z.infer<typeof fence>

/** How sums travel: float32 is exact, the others are not. */
export const wireFormat = z.enum(['fp32', 'fp16', 'int8'])
export type WireFormat = z.infer<typeof wireFormat>

/**
 * Sums of gradients over shards `from` to `to` of one step. Workers serve it on their sockets for one shard; relays serve
 * it for blocks, which their workers compute and they add: to whoever asks, a relay is a worker with more hands.
 */
export const Training = defineService({
  name: 'shoal.Training',
  version: '1.0.0',
  methods: {
    reduce: unary({
      input: z.object({
        fence,
        /** SHA-256 of the plan, a blob: graph, data, order. */
        plan: sha256,
        /** Distinguishes leases of the same shards. */
        attempt: count,
        /** The plan's step that the shards are of: the fence's own in training, any in validation. */
        dataStep: count,
        from: count.max(LIMITS.maxShards),
        to: count.max(LIMITS.maxShards),
        format: wireFormat,
        /** Values in the sum. */
        length: count.min(1),
        /** The parameters themselves, unless the callee has them: it answers `failed_precondition` if it has not. */
        values: tensor.optional(),
      }),
      output: z.object({
        fence,
        attempt: count,
        /** The shards that it is of: a relay leases those of several blocks at once, and counts attempts within each. */
        dataStep: count,
        from: count,
        to: count,
        /** The sum in its wire format: gradients, then loss and sample weight. */
        sum: tensors,
        /** Workers that took part. */
        workers: count,
      }),
      idempotent: true,
    }),
  },
})
