import * as z from 'zod'
import { defineService, unary } from '../../shared/rpc/contract.ts'

/** Says which instance has answered. */
export const Who = defineService({
  name: 'demo.Who',
  version: '1.0.0',
  methods: { who: unary({ input: z.object({}), output: z.object({ id: z.string() }), idempotent: true }) },
})
