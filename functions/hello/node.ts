/** The same function as a process: `SHOAL_GATEWAY=http://127.0.0.1:8787 node functions/hello/node.ts`. */
import type { AddressInfo } from 'node:net'
import process from 'node:process'
import { serve } from '@hono/node-server'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import hello from './hello.ts'

const [port, hostname] = [Number(process.env.PORT ?? 0), '127.0.0.1']
const server = serve({ fetch: hello.fetch, port, hostname }, async (address: AddressInfo) => {
  const url = process.env.SHOAL_URL ?? `http://${hostname}:${address.port}`
  const env = { ...process.env, SHOAL_URL: url, SHOAL_DEPLOYMENT: process.env.SHOAL_DEPLOYMENT ?? crypto.randomUUID() }
  await hello.lease.touch(env)
  const beat = setInterval(() => void hello.lease.touch(env), DEFAULTS.functionRenewMs / 2)
  console.log(`hello ready ${url}${hello.lease.failure ? ` (not registered: ${hello.lease.failure.message})` : ''}`)

  const stop = async () => {
    clearInterval(beat)
    // Nothing fails for its end: gateways hear of it before it stops taking calls.
    await hello.drain(env)
    server.close(() => process.exit(0))
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
})
