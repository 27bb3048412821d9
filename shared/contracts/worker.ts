import * as z from 'zod'
import { LIMITS } from '../base/limits.ts'
import { defineService, unary } from '../rpc/contract.ts'
import { device, sha256, tensors, warmUpRows, workerLimits } from './fields.ts'

/**
 * What a worker serves on the socket it opened: runs of models. The relay joins calls into a run by writing their data one
 * after the other, and cuts the outputs by viewing them in parts: the worker sees one run, whatever it is made of.
 */
export const Worker = defineService({
  name: 'shoal.Worker',
  version: '1.0.0',
  methods: {
    run: unary({
      input: z.object({
        model: sha256,
        inputs: tensors,
        /** Rows along axis 0 of every input and output, where calls were joined: the worker may pad them for its device. */
        rows: z.number().int().min(0).optional(),
        /** Sizes of runs, in rows, to be made on zeros first, once after the model was loaded: no later one is slow. */
        warmUp: warmUpRows.optional(),
      }),
      output: z.object({
        outputs: tensors,
        /** Milliseconds: fetching and loading the model, waiting for the device, computing. */
        timings: z.object({ loadMs: z.number(), waitMs: z.number(), runMs: z.number() }),
      }),
      idempotent: true,
    }),
  },
})

/** What a relay serves on a worker's socket, once it has welcomed the worker. */
export const Relay = defineService({
  name: 'shoal.Relay',
  version: '1.0.0',
  methods: {
    /** How it stands with the worker: said whenever that has changed. */
    report: unary({
      input: z.object({
        /** All models loaded now, the longest unused first. */
        models: z.array(sha256).max(LIMITS.maxLoadedModels),
        /** How much of its usual speed it offers: a tab that is hidden, less. */
        share: z.number().gt(0).max(1),
        memory: z.object({ usedBytes: z.number(), budgetBytes: z.number() }),
      }),
      output: z.object({}),
      idempotent: true,
    }),
  },
})
export type Report = z.infer<typeof Relay.methods.report.input>

const text = z.string().max(LIMITS.maxNameLength)

/** The first frame of a worker: who it is and what it computes on. */
export const hello = z.object({
  token: z.string().max(4096),
  name: text,
  incarnation: text.min(1),
  info: z.object({
    device,
    build: text,
    adapter: text,
    fallbackAdapter: z.boolean(),
    fp16: z.boolean(),
    reason: z.string().max(1000),
    /** Billions of operations per second, in a short run when its engine started. */
    gflops: z.number().positive().optional(),
    limits: workerLimits.optional(),
  }),
  /** Models already loaded, so that a reconnecting worker is known to be warm. */
  models: z.array(sha256).max(1000),
})
export type Hello = z.infer<typeof hello>

/** The relay's answer to a hello. */
export const welcome = z.object({ worker: z.string(), relay: z.string(), pingIntervalMs: z.number().positive() })
export type Welcome = z.infer<typeof welcome>
