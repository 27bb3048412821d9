import { z } from 'zod'
import { defineService, unary } from '../../shared/rpc/contract.ts'

/** What each candidate is sent and sends back. */
export const Record = z.object({
  id: z.number(),
  name: z.string(),
  tags: z.array(z.string()),
})

/** What the rpc benchmark calls: a small record there and back, checked on both sides. */
export const Echo = defineService({
  name: 'bench.Echo',
  version: '1.0.0',
  methods: { echo: unary({ input: Record, output: Record, idempotent: true }) },
})

export const MESSAGE = {
  id: 42,
  name: 'a small record of about a hundred bytes',
  tags: ['one', 'two', 'three'],
}

/** Calls under way at once where throughput is measured. */
export const CALLERS = 32
