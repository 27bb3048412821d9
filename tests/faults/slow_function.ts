/** demo.Slow in a process of its own: calls that take a while, so that a signal strikes some of them half done. */
import process from 'node:process'
import * as z from 'zod'
import { defineService, unary } from '../../shared/rpc/contract.ts'
import { serve } from '../../shared/registry/serve.ts'
import { runFunction } from './function_process.ts'

/** Not idempotent: a call that failed half done is not tried again by anyone. */
export const Slow = defineService({
  name: 'demo.Slow',
  version: '1.0.0',
  methods: {
    work: unary({ input: z.object({ n: z.number() }), output: z.object({ n: z.number(), pid: z.number() }) }),
  },
})

if (import.meta.main) {
  runFunction(serve(Slow, {
    async work({ n }) {
      await new Promise((resolve) => setTimeout(resolve, 50 + (n % 5) * 50))
      return { n, pid: process.pid }
    },
  }))
}
