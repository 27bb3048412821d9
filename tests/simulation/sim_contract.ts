import * as z from 'zod'
import { defineService, unary } from '../../shared/rpc/contract.ts'

const input = z.object({ call: z.number() })
const output = z.object({ call: z.number(), by: z.string() })

/** What the simulated instances serve: each answer says which call it is of, and who gave it. */
export const Sim = defineService({
  name: 'sim.Echo',
  version: '1.0.0',
  methods: {
    read: unary({ input, output, idempotent: true }),
    write: unary({ input, output, idempotent: false }),
  },
})
