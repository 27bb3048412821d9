import './require_node.ts'
import { parseArgs } from 'node:util'
import process from 'node:process'
import { DEFAULTS } from '../shared/base/defaults.ts'
import { wholeNumber } from '../functions/cli/command.ts'
import { onStopSignal } from '../functions/cli/stop_signal.ts'
import { startLocalWorkers } from './local_workers.ts'

/** `npm run dev:workers -- [--port 8787] [--relays 1]`: the Cloudflare build on this machine, open on loopback. */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: String(DEFAULTS.port) },
      relays: { type: 'string', default: '1' },
    },
  })
  const workers = await startLocalWorkers({
    port: wholeNumber('port', values.port, 0, 65535),
    vars: { SHOAL_OPEN: '1', RELAYS: values.relays, SHOAL_LOG: 'warn' },
  })
  onStopSignal(() => workers.close())
  stopWithParent()
  console.log(`shoal ready ${workers.url}`)
}

/** A signal to npm alone ends npm and its shell, which keeps it to itself: Redis and workerd would stay behind. */
function stopWithParent(): void {
  const parent = process.ppid
  setInterval(() => {
    if (process.ppid !== parent) process.kill(process.pid, 'SIGTERM')
  }, 500).unref()
}

main().catch((error) => {
  console.error(`shoal: ${error instanceof Error ? error.message : error}`)
  process.exit(1)
})
