/**
 * demo.Hop1, demo.Hop2 or demo.Hop3 in a process of its own. Argument: its number. The first two call the next through the
 * gateway, with the time that is left; the last one works until it is told to stop.
 */
import process from 'node:process'
import * as z from 'zod'
import { serve } from '../../shared/registry/serve.ts'
import { defineService, unary } from '../../shared/rpc/contract.ts'
import { RpcError } from '../../shared/wire/errors.ts'
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
        /**
         * Calls begun, those that were stopped, those still running, those that failed for another reason, and how late after
         * its deadline one was stopped.
         */
        output: z.object({
          ...{ begun: z.number(), cancelled: z.number(), running: z.number() },
          ...{ other: z.number(), lateMs: z.number() },
        }),
        idempotent: true,
      }),
    },
  })

if (import.meta.main) {
  const number = Number(process.argv[2])
  const next = number < LAST_HOP && createClient(hop(number + 1), { gateway: process.env.SHOAL_GATEWAY ?? '' })
  const seen = { begun: 0, cancelled: 0, running: 0, other: 0, lateMs: 0 }
  runFunction(serve(hop(number), {
    async work(_, { signal, deadlineMs }) {
      seen.begun++
      seen.running++
      const told = Promise.withResolvers<void>()
      const onAbort = () => told.resolve()
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
      try {
        if (next) await next.work({}, { signal, timeoutMs: Math.max(1, deadlineMs - Date.now()) })
        else await told.promise
      } catch (thrown) {
        // The next hop's time may be over a moment before this one's: what it says then is as good as being told.
        const { code } = RpcError.from(thrown)
        if (!signal.aborted && code !== 'deadline_exceeded' && code !== 'canceled') throw (seen.other++, thrown)
      } finally {
        seen.running--
      }
      seen.cancelled++
      seen.lateMs = Math.max(seen.lateMs, Date.now() - deadlineMs)
      await told.promise
      return {}
    },
    seen: () => seen,
  }))
}
