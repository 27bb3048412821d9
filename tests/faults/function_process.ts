import type { AddressInfo } from 'node:net'
import process from 'node:process'
import { serve as listen } from '@hono/node-server'
import type { ServedFunction } from '../../shared/registry/serve.ts'

/** Runs a function as a process of its own, as functions/hello/node.ts does: registered, and drained on SIGTERM. */
export function runFunction(app: ServedFunction): void {
  const server = listen({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, async ({ port }: AddressInfo) => {
    const env = { ...process.env, SHOAL_URL: `http://127.0.0.1:${port}`, SHOAL_DEPLOYMENT: crypto.randomUUID() }
    await app.lease.touch(env)
    if (app.lease.failure) throw app.lease.failure
    process.on('SIGTERM', async () => {
      await app.drain(env)
      server.close(() => process.exit(0))
    })
    console.log(`function ready ${env.SHOAL_URL}`)
  })
}
