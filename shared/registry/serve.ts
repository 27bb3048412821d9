import { Hono } from 'hono'
import { env as envOf } from 'hono/adapter'
import { systemClock } from '../base/clock.ts'
import type { Methods, ServiceContract } from '../rpc/contract.ts'
import { answerOfError, toResponse } from '../rpc/http.ts'
import { answerHttp } from '../rpc/http_server.ts'
import type { Interceptor } from '../rpc/send.ts'
import { createServer, type Handlers, implement } from '../rpc/server.ts'
import { RpcError } from '../wire/errors.ts'
import { FunctionLease, type LeaseSettings } from './function_lease.ts'

export interface ServeOptions {
  /** Where and as what the function registers; what is left out is read from the environment (see `LeaseSettings`). */
  lease?: LeaseSettings
  interceptors?: readonly Interceptor[]
}

/** A function as runtimes take it: `fetch` for requests, `scheduled` for cron. */
export type ServedFunction = Hono & {
  scheduled(event: unknown, env: unknown, context: { waitUntil(work: Promise<unknown>): void }): void
  lease: FunctionLease
}

/**
 * Serves a contract as a serverless function that keeps itself registered: each request and each cron tick renews its
 * lease when it is due, beside the work and never in its way. Without a gateway to register at it simply serves.
 */
export function serve<const M extends Methods>(
  contract: ServiceContract<M>,
  handlers: Handlers<ServiceContract<M>>,
  options: ServeOptions = {},
): ServedFunction {
  const send = createServer([implement(contract, handlers)], options.interceptors)
  const lease = new FunctionLease(contract, options.lease ?? {}, systemClock)
  const app = new Hono()

  app.post('/rpc/:service/:method', async (context) => {
    keepAlive(lease.touch(envOf(context)), () => context.executionCtx)
    const { service, method } = context.req.param()
    return toResponse(await answerHttp(send, context.req.raw, service, method, { clock: systemClock }))
  })
  app.get('/livez', (context) => context.text('ok\n'))
  app.notFound((context) => {
    return toResponse(answerOfError(
      new RpcError('not_found', `Cannot find ${context.req.path}: call POST /rpc/${contract.name}/{method}`),
    ))
  })
  return Object.assign(app, {
    lease,
    scheduled: (_event: unknown, env: unknown, context: { waitUntil(work: Promise<unknown>): void }) =>
      context.waitUntil(lease.touch(env as Record<string, string | undefined>)),
  })
}

/** Lets a renewal outlive the request where the runtime would otherwise end it; elsewhere it simply runs on. */
function keepAlive(work: Promise<void>, executionContext: () => { waitUntil(work: Promise<unknown>): void }): void {
  try {
    executionContext().waitUntil(work)
  } catch {
    // Node and Deno have no execution context, and need none.
  }
}
