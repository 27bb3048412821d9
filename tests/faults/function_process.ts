import process from 'node:process'
import { runOnNode } from '../../functions/run_node.ts'
import type { ServedFunction } from '../../shared/registry/serve.ts'

/** Runs a function as a process of its own, as functions/hello/node.ts does: registered, and drained on SIGTERM. */
export async function runFunction(app: ServedFunction): Promise<void> {
  const running = await runOnNode(app)
  if (app.lease.failure) throw app.lease.failure
  process.on('SIGTERM', async () => {
    await running.stop()
    process.exit(0)
  })
  console.log(`function ready ${running.url}`)
}
