import { Hono } from 'hono'
import { env as envOf } from 'hono/adapter'
import { atMost, sleep, systemClock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { bulkhead, type MethodLimit } from '../rpc/bulkhead.ts'
import type { Methods, ServiceContract } from '../rpc/contract.ts'
import { answerOfError, type HttpAnswer, toResponse } from '../rpc/http.ts'
import { answerHttp } from '../rpc/http_server.ts'
import type { Interceptor, Send } from '../rpc/send.ts'
import { ServedSockets } from '../rpc/served_sockets.ts'
import { createServer, type Handlers, implement } from '../rpc/server.ts'
import { RpcError } from '../wire/errors.ts'
import { FunctionLease, type LeaseSettings } from './function_lease.ts'

export interface ServeOptions<M extends Methods = Methods> {
  /** Where and as what the function registers; what is left out is read from the environment (see `LeaseSettings`). */
  lease?: LeaseSettings
  /** Around each call, outside of the limits. */
  interceptors?: readonly Interceptor[]
  /** How many calls of a method run at once and how many wait, by method. What is not named has no bound of its own. */
  limits?: { readonly [K in keyof M]?: MethodLimit }
}

export interface DrainOptions {
  /** How long calls that were on their way are still taken. `DEFAULTS.leaveGraceMs` by default. */
  graceMs?: number
  /** How long running calls may take after that. `DEFAULTS.drainMs` by default. */
  limitMs?: number
}

/** A function as runtimes take it: `fetch` for requests, `scheduled` for cron. */
export type ServedFunction = Hono & {
  scheduled(event: unknown, env: unknown, context: { waitUntil(work: Promise<unknown>): void }): void
  lease: FunctionLease
  /** Serves calls of this very process: what `memoryTransport` takes, in tests for one. */
  send: Send
  /** Calls over sockets, where the runtime takes them: functions/run_node.ts and run_deno.ts do. */
  sockets: ServedSockets
  /**
   * Ends gracefully, for processes that are told to: leaves the registry, takes the calls that were on their way from
   * gateways that have not heard yet, refuses later ones as never begun, and resolves when the running ones have ended.
   */
  drain(env: Readonly<Record<string, unknown>>, options?: DrainOptions): Promise<void>
}

/**
 * Serves a contract as a serverless function that keeps itself registered: each request and each cron tick renews its
 * lease when it is due, beside the work and never in its way. Without a gateway to register at it simply serves.
 */
export function serve<const M extends Methods>(
  contract: ServiceContract<M>,
  handlers: Handlers<ServiceContract<M>>,
  options: ServeOptions<NoInfer<M>> = {},
): ServedFunction {
  const { interceptors = [], limits } = options
  const limited = limits ? [...interceptors, bulkhead(limits, systemClock)] : interceptors
  const send = createServer([implement(contract, handlers)], limited)
  const serving = new Serving(send)
  const lease = new FunctionLease(contract, options.lease ?? {}, systemClock)
  const sockets = new ServedSockets({ serve: send, clock: systemClock, token: () => lease.token, open: true })
  const app = new Hono()
  let isLeaving = false

  app.post('/rpc/:service/:method', async (context) => {
    keepAlive(lease.touch(envOf(context)), () => context.executionCtx)
    const { service, method } = context.req.param()
    const answer = await serving.answer(context.req.raw, service, method, context.req.header('shoal-caller'))
    // Connections that callers keep would be closed under a call that is on its way.
    if (isLeaving) answer.headers.connection = 'close'
    return toResponse(answer)
  })
  app.get('/livez', (context) => context.text('ok\n'))
  app.notFound((context) => {
    return toResponse(answerOfError(
      new RpcError('not_found', `Cannot find ${context.req.path}: call POST /rpc/${contract.name}/{method}`),
    ))
  })
  return Object.assign(app, {
    lease,
    send,
    sockets,
    async drain(env: Readonly<Record<string, unknown>>, { graceMs, limitMs }: DrainOptions = {}) {
      isLeaving = true
      const hadLease = await lease.leave(env)
      sockets.leave()
      if (hadLease) await sleep(systemClock, graceMs ?? DEFAULTS.leaveGraceMs)
      await Promise.all([serving.end(limitMs ?? DEFAULTS.drainMs), sockets.end(limitMs ?? DEFAULTS.drainMs)])
    },
    scheduled: (_event: unknown, env: unknown, context: { waitUntil(work: Promise<unknown>): void }) =>
      context.waitUntil(lease.touch(env as Record<string, string | undefined>)),
  })
}

/** Answers calls and knows how many it has not answered yet; a stream counts until its end. */
class Serving {
  readonly #send: Send
  #inFlight = 0
  #onIdle: (() => void) | undefined

  constructor(send: Send) {
    this.#send = send
  }

  answer(request: Request, service: string, method: string, caller: string | undefined): Promise<HttpAnswer> {
    if (this.#onIdle) {
      const reason = `Cannot serve ${service}/${method}: this instance is stopping`
      return Promise.resolve(answerOfError(new RpcError('unavailable', reason, { neverSent: true })))
    }
    this.#inFlight++
    const onAnswer = () => {
      if (--this.#inFlight === 0) this.#onIdle?.()
    }
    return answerHttp(this.#send, request, service, method, { clock: systemClock, onAnswer, caller })
  }

  /** Takes no more calls. @returns when none is running, or `limitMs` have passed */
  async end(limitMs: number): Promise<void> {
    const idle = new Promise<void>((resolve) => this.#onIdle = resolve)
    if (this.#inFlight > 0) await atMost(systemClock, limitMs, idle)
  }
}

/** Lets a renewal outlive the request where the runtime would otherwise end it; elsewhere it simply runs on. */
function keepAlive(work: Promise<void>, executionContext: () => { waitUntil(work: Promise<unknown>): void }): void {
  try {
    executionContext().waitUntil(work)
  } catch {
    // Node and Deno have no execution context, and need none.
  }
}
