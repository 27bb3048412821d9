import * as z from 'zod'
import { defineService, serverStreaming, unary } from '../rpc/contract.ts'
import { areTensors, isName, name, tensors } from './fields.ts'
import { plainly } from './plainly.ts'

/** What callers see: a model by name, tensors in, tensors out. Served by the gateway. */
export const Inference = defineService({
  name: 'shoal.Inference',
  version: '1.0.0',
  methods: {
    infer: unary({
      input: plainly(
        z.strictObject({
          model: name,
          /** The newest version where none is named. */
          version: name.optional(),
          inputs: tensors,
          /** Outputs wanted; all where left out. */
          outputs: z.array(name).optional(),
          /** 'high' goes before 'normal' in the model's queue, and 'low', as jobs are, after both. */
          priority: z.enum(['high', 'normal', 'low']).optional(),
        }),
        { model: isName, inputs: areTensors },
      ),
      output: plainly(z.object({ model: name, version: name, outputs: tensors }), {
        model: isName,
        version: isName,
        outputs: areTensors,
      }),
      idempotent: true,
    }),
    /** Runs a model that has a loop on its own outputs, step by step; each step is an item. */
    generate: serverStreaming({
      input: z.strictObject({
        model: name,
        version: name.optional(),
        /** Of the first step. */
        inputs: tensors,
        /** As many as the model's loop may take where left out; it may stop sooner. */
        steps: z.number().int().min(1).optional(),
        /** Outputs wanted of each step; those that the loop names where left out. */
        outputs: z.array(name).optional(),
        priority: z.enum(['high', 'normal']).optional(),
      }),
      output: z.object({ step: z.number().int(), outputs: tensors }),
      idempotent: true,
    }),
  },
})
