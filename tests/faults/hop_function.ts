/**
 * demo.Hop1, demo.Hop2 or demo.Hop3 in a process of its own. Argument: its number. The first two call the next through the
 * gateway, with the time that is left; the last one works until it is told to stop.
 */
import process from 'node:process'
import * as z from 'zod'
import { serve } from '../../shared/registry/serve.ts'
import { defineService, unary } from '../../shared/rpc/contract.ts'
import { createClient } from '../../shared/rpc/create_client.ts'
import { runFunction } from './function_process.ts'

export const LAST_HOP = 3

export const hop = (n: number) =>
  defineService({
    name: `demo.Hop${n}`,
    version: '1.0.0',
    methods: {
      work: unary({ input: z.object({}), output: z.object({}), idempotent: true }),
      seen: unary({
        input: z.object({}),
        /** Calls begun, those whose signal aborted, those still running, and how late after its deadline one was stopped. */
        output: z.object({ begun: z.number(), aborted: z.number(), running: z.number(), lateMs: z.number() }),
        idempotent: true,
      }),
    },
  })

if (import.meta.main) {
  const number = Number(process.argv[2])
  const next = number < LAST_HOP && createClient(hop(number + 1), { gateway: process.env.SHOAL_GATEWAY ?? '' })
  const seen = { begun: 0, aborted: 0, running: 0, lateMs: 0 }
  runFunction(serve(hop(number), {
    async work(_, { signal, deadlineMs }) {
      seen.begun++
      seen.running++
      const stopped = new Promise<void>((resolve) => {
        const onAbort = () => {
          seen.aborted++
          seen.lateMs = Math.max(seen.lateMs, Date.now() - deadlineMs)
          resolve()
        }
        if (signal.aborted) onAbort()
        else signal.addEventListener('abort', onAbort, { once: true })
      })
      try {
        if (next) await next.work({}, { signal, timeoutMs: Math.max(1, deadlineMs - Date.now()) })
        else await stopped
      } finally {
        seen.running--
      }
      return {}
    },
    seen: () => seen,
  }))
}
