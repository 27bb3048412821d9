import './node_heap.ts'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import process from 'node:process'
import { getRequestListener } from '@hono/node-server'
import { DEFAULTS } from '../shared/base/defaults.ts'
import type { ServedFunction } from '../shared/registry/serve.ts'
import { cannotListen } from './cannot_listen.ts'
import { drainOf } from './node_drain.ts'
import { takeSockets } from './node_upgrades.ts'
import { environment, type RunningFunction, type RunOptions } from './run_function.ts'

/** Runs a function as a process on Node: over HTTP and over sockets, its lease renewed while it lives. */
export async function runOnNode(served: ServedFunction, options: RunOptions = {}): Promise<RunningFunction> {
  const { hostname = '127.0.0.1', sockets = true, port: wanted = 0 } = options
  const server = createServer(getRequestListener(served.fetch))
  const drain = drainOf(server)
  const cutSockets = takeSockets(server, served.sockets)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(cannotListen(hostname, wanted, cause)))
    server.listen(wanted, hostname, resolve)
  })
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
      // Nor does a call that is on its way to one which gateways have left, or whose answer is being written.
      await drain.end(DEFAULTS.drainMs)
      await drain.close(cutSockets)
    },
  }
}
