import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { z } from 'zod'
import { newId } from '../../shared/base/random.ts'
import { defineService, unary } from '../../shared/rpc/contract.ts'

/** What the function below answers: which copy of it was called, with what, and under which headers. */
export const Echo = defineService({
  name: 'demo.Echo',
  version: '1.0.0',
  methods: {
    echo: unary({
      input: z.object({ text: z.string() }),
      output: z.object({ text: z.string(), copy: z.string(), headers: z.record(z.string(), z.string()) }),
      idempotent: true,
    }),
  },
})

export interface EchoFunction extends AsyncDisposable {
  url: string
  /** A record to register it with. */
  record: Record<string, unknown>
  /** Calls it got, of whatever method. */
  readonly calls: number
  close(): Promise<void>
}

/** A function as anyone could write it, without Shoal's library: JSON over HTTP. */
export async function startEcho(service: string, more: Record<string, unknown> = {}): Promise<EchoFunction> {
  let calls = 0
  const id = newId('echo')
  const app = new Hono()
  app.use(async (_context, next) => {
    calls++
    await next()
  })
  app.post(`/rpc/${service}/echo`, async (context) => {
    const { text } = await context.req.json()
    return context.json({ text, copy: id, headers: context.req.header() }, 200, { 'x-echo': 'yes' })
  })
  app.post(
    `/rpc/${service}/refuse`,
    (context) => context.json({ code: 'already_exists', message: 'Cannot echo twice', details: [{ at: 1 }] }, 409),
  )
  app.post(`/rpc/${service}/crash`, (context) => context.text('<h1>crashed</h1>', 500))
  app.post(
    `/rpc/${service}/busy`,
    (context) => context.json({ code: 'resource_exhausted', message: 'Cannot echo now' }, 429, { 'retry-after': '7' }),
  )
  app.post(`/rpc/${service}/redirect`, (context) => context.redirect('http://169.254.169.254/latest/meta-data'))
  const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' })
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const close = async () => {
    const closed = once(server, 'close')
    server.close()
    if ('closeAllConnections' in server) server.closeAllConnections()
    await closed
  }
  let open = true
  const closeOnce = async () => {
    if (open) await (open = false, close())
  }
  return {
    url,
    record: { id, service, version: '1.0.0', url, incarnation: newId('life'), ...more },
    get calls() {
      return calls
    },
    close: closeOnce,
    [Symbol.asyncDispose]: closeOnce,
  }
}
