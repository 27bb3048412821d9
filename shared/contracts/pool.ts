import * as z from 'zod'
import { LIMITS } from '../base/limits.ts'
import { defineService, unary } from '../rpc/contract.ts'
import { device, name, sha256, tensors, warmUpRows, workerLimits } from './fields.ts'

/**
 * What a pool must know of a model to run it: identity, whether calls may be joined along axis 0, and whether volunteers
 * may see it; they may not where nothing is said.
 */
export const modelRef = z.object({
  sha256,
  batchable: z.boolean(),
  public: z.boolean().optional(),
  /** How long a call may wait for others to share its run though a worker is free; not at all where nothing is said. */
  maxQueueDelayUs: z.number().int().min(1).max(LIMITS.maxQueueDelayUs).optional(),
  /** Sizes of runs, in rows, that a worker makes on zeros when it has loaded the model. */
  warmUp: warmUpRows.optional(),
  /** Of all its files, of the one that holds its graph, and of the largest of its weights: workers that are too small for one
   * of them are not given it. */
  bytes: z.number().int().min(0).optional(),
  fileBytes: z.number().int().min(0).optional(),
  largestTensorBytes: z.number().int().min(0).optional(),
  /** The same inputs give the same outputs on any worker, so that answers can be checked. Not where nothing is said. */
  deterministic: z.boolean().optional(),
})
export type ModelRef = z.infer<typeof modelRef>

export const workerState = z.object({
  id: z.string(),
  name: z.string(),
  device,
  adapter: z.string(),
  fallbackAdapter: z.boolean(),
  build: z.string(),
  reason: z.string(),
  draining: z.boolean(),
  inFlight: z.number(),
  served: z.number(),
  models: z.array(z.string()),
  connectedMs: z.number(),
  /** Billions of operations per second, in a short run when its engine started. */
  gflops: z.number().optional(),
  /** How much of its usual speed it offers: less than 1 while its tab is hidden. */
  share: z.number().optional(),
  /** What its loaded models take, and may take. */
  memory: z.object({ usedBytes: z.number(), budgetBytes: z.number() }).optional(),
  limits: workerLimits.optional(),
  /** Models that it is not given, and why: of those that somebody has called. */
  refused: z.array(z.object({ model: sha256, reason: z.string() })).optional(),
})
export type WorkerState = z.infer<typeof workerState>

/**
 * A pool of workers, as a relay or a GPU host serves it to gateways. Models are named by hash: what a name means is the
 * gateway's business. Its answers carry the metadata `shoal-worker`, `shoal-device` and `server-timing`.
 */
export const Pool = defineService({
  name: 'shoal.Pool',
  version: '1.0.0',
  methods: {
    run: unary({
      input: z.object({
        model: modelRef,
        inputs: tensors,
        priority: z.enum(['high', 'normal', 'low']).optional(),
        /** Whose call it is, as the gateway knows its callers: workers are shared fairly between them. */
        caller: z.string().max(LIMITS.maxNameLength).optional(),
      }),
      output: z.object({ outputs: tensors }),
      idempotent: true,
    }),
    workers: unary({
      input: z.object({}),
      output: z.object({
        relay: name,
        workers: z.array(workerState),
        /** How many calls wait, by model. */
        queues: z.array(z.object({ model: sha256, calls: z.number() })).optional(),
      }),
      idempotent: true,
    }),
  },
})
