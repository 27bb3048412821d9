/** The same function as a process: `SHOAL_GATEWAY=http://127.0.0.1:8787 node functions/hello/node.ts`. */
import process from 'node:process'
import { runOnNode } from '../run_node.ts'
import hello from './hello.ts'

const running = await runOnNode(hello, { port: Number(process.env.PORT ?? 0) })
const { failure } = hello.lease
console.log(`hello ready ${running.url}${failure ? ` (not registered: ${failure.message})` : ''}`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, async () => {
    await running.stop()
    process.exit(0)
  })
}
