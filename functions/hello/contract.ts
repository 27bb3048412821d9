import * as z from 'zod'
import { defineService, unary } from '../../shared/rpc/contract.ts'

/** What callers import: they need the contract, not the function. */
export const Hello = defineService({
  name: 'demo.Hello',
  version: '1.0.0',
  methods: {
    sayHello: unary({
      input: z.object({ name: z.string().min(1).max(100) }),
      output: z.object({ message: z.string() }),
      idempotent: true,
    }),
  },
})
