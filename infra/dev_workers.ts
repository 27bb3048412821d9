import './require_node.ts'
import { parseArgs } from 'node:util'
import { DEFAULTS } from '../shared/base/defaults.ts'
import { onStopSignal } from '../functions/cli/stop_signal.ts'
import { startLocalWorkers } from './local_workers.ts'

/** `npm run dev:workers -- [--port 8787] [--relays 1]`: the Cloudflare build on this machine, open on loopback. */
const { values } = parseArgs({
  options: {
    port: { type: 'string', default: String(DEFAULTS.port) },
    relays: { type: 'string', default: '1' },
  },
})

const workers = await startLocalWorkers({
  port: Number(values.port),
  vars: { SHOAL_OPEN: '1', RELAYS: values.relays, SHOAL_LOG: 'warn' },
})
onStopSignal(() => workers.close())
console.log(`shoal ready ${workers.url}`)
