/** The same function on Deno: `SHOAL_GATEWAY=http://127.0.0.1:8787 deno run -A functions/hello/deno.ts`. */
import process from 'node:process'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import hello from './hello.ts'

const [port, hostname] = [Number(process.env.PORT ?? 0), '127.0.0.1']
const server = Deno.serve({ port, hostname, onListen() {} }, hello.fetch)
const url = process.env.SHOAL_URL ?? `http://${hostname}:${server.addr.port}`
const env = { ...process.env, SHOAL_URL: url, SHOAL_DEPLOYMENT: process.env.SHOAL_DEPLOYMENT ?? crypto.randomUUID() }
await hello.lease.touch(env)
const beat = setInterval(() => void hello.lease.touch(env), DEFAULTS.functionRenewMs / 2)
console.log(`hello ready ${url}${hello.lease.failure ? ` (not registered: ${hello.lease.failure.message})` : ''}`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  Deno.addSignalListener(signal, async () => {
    clearInterval(beat)
    await hello.drain(env)
    await server.shutdown()
    process.exit(0)
  })
}
