import './node_heap.ts'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import process from 'node:process'
import { getRequestListener } from '@hono/node-server'
import { DEFAULTS } from '../shared/base/defaults.ts'
import type { ServedFunction } from '../shared/registry/serve.ts'
import { takeSockets } from './node_upgrades.ts'
import { environment, type RunningFunction, type RunOptions } from './run_function.ts'

/** How long a caller may take to answer a close frame. */
const CLOSE_MS = 1_000

/** Runs a function as a process on Node: over HTTP and over sockets, its lease renewed while it lives. */
export async function runOnNode(served: ServedFunction, options: RunOptions = {}): Promise<RunningFunction> {
  const { hostname = '127.0.0.1', sockets = true } = options
  const server = createServer(getRequestListener(served.fetch))
  const cutSockets = takeSockets(server, served.sockets)
  await new Promise<void>((resolve, reject) =>
    server.once('error', reject).listen(options.port ?? 0, hostname, resolve)
  )
  const { port } = server.address() as AddressInfo
  const env = environment(`http://${hostname}:${port}`, options.env ?? process.env)
  served.lease.sockets = sockets
  await served.lease.touch(env)
  const beat = setInterval(() => void served.lease.touch(env), DEFAULTS.functionRenewMs / 2)
  return {
    url: env.SHOAL_URL,
    port,
    async stop() {
      clearInterval(beat)
      // Nothing fails for its end: gateways hear of it before it stops taking calls.
      await served.drain(env)
      const cut = setTimeout(() => {
        cutSockets()
        // Callers open connections ahead of need and say nothing on them: they would hold the server open.
        server.closeAllConnections()
      }, CLOSE_MS)
      await new Promise((resolve) => server.close(resolve))
      clearTimeout(cut)
    },
  }
}
