import * as z from 'zod'
import { defineService, unary } from '../../shared/rpc/contract.ts'

const output = z.object({ id: z.string() })

/** Says which instance has answered; and takes its time over it, with an effect or without. */
export const Who = defineService({
  name: 'demo.Who',
  version: '1.0.0',
  methods: {
    who: unary({ input: z.object({}), output, idempotent: true }),
    look: unary({ input: z.object({ ms: z.number() }), output, idempotent: true }),
    change: unary({ input: z.object({ ms: z.number(), call: z.number() }), output, idempotent: false }),
  },
})
