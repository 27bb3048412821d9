/** The same function on Deno: `SHOAL_GATEWAY=http://127.0.0.1:8787 deno run -A functions/hello/deno.ts`. */
import process from 'node:process'
import { runOnDeno } from '../run_deno.ts'
import hello from './hello.ts'

const running = await runOnDeno(hello, { port: Number(process.env.PORT ?? 0) })
const { failure } = hello.lease
console.log(`hello ready ${running.url}${failure ? ` (not registered: ${failure.message})` : ''}`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  Deno.addSignalListener(signal, async () => {
    await running.stop()
    process.exit(0)
  })
}
