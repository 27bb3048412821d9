import { createServer, type RequestListener, type Server, type ServerOptions } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve, upgradeWebSocket } from '@hono/node-server'
import { type WebSocket, WebSocketServer } from 'ws'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { cannotListen } from '../cannot_listen.ts'
import { drainOf } from '../node_drain.ts'
import { guardedLookup } from './guarded_lookup.ts'
import { nodeRpc } from './node_rpc.ts'
import { TurnEnd } from './turn_end.ts'
import { nodeUpstream } from './node_upstream.ts'
import { NodeSocket, openSocket } from '../worker/node_socket.ts'
import { type HostOptions, type LocalRelay, openHostGateway, type OpenLink, type Upgrade } from './host.ts'

export interface RunningGateway {
  url: string
  store: string
  mode: string
  /** The relay in this process. */
  local: LocalRelay
  /** Answers what is in flight, then runs `beforeLinksEnd` (local workers leave), then ends the relay and the store. */
  close(beforeLinksEnd?: () => Promise<void>): Promise<void>
}

/** Connections whose request's headers do not come in time are closed: each holds memory, and says nothing. */
const CONNECTIONS = {
  headersTimeout: DEFAULTS.headersTimeoutMs,
  connectionsCheckingInterval: 1_000,
  keepAliveTimeout: DEFAULTS.keepAliveMs,
}

/** Runs the gateway on Node. Resolves once it listens; port 0 takes a free one. */
export async function startNodeGateway(options: HostOptions): Promise<RunningGateway> {
  const turn = new TurnEnd()
  const { app, guard, rpc, store, local, endStreams, close } = await openHostGateway(
    {
      upstream: nodeUpstream({ turn }),
      openSocket: (url, headers) => openSocket(url, headers, guardedLookup()),
      ...options,
    },
    upgrade,
  )
  const serveRpc = nodeRpc(guard, rpc, turn)
  const sockets = new WebSocketServer({ noServer: true, maxPayload: LIMITS.maxFrameBytes, perMessageDeflate: false })
  return await new Promise((resolve, reject) => {
    const server = serve(
      {
        fetch: app.fetch,
        hostname: options.host,
        port: options.port,
        websocket: { server: sockets },
        createServer: ((settings: ServerOptions, listener: RequestListener) =>
          createServer({ ...settings, ...CONNECTIONS }, (incoming, outgoing) => {
            if (!serveRpc(incoming, outgoing)) {
              listener(incoming, outgoing)
            }
          })) as typeof createServer,
      },
      ({ port }: AddressInfo) =>
        resolve({
          url: `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`,
          store,
          mode: guard.mode,
          local,
          async close(beforeLinksEnd) {
            const answered = drain.end(options.drainMs ?? DEFAULTS.drainMs)
            endStreams()
            await answered
            await beforeLinksEnd?.()
            await close()
            // A worker that hangs would hold it open: it never answers the close frame.
            await drain.close(() =>
              sockets.clients.forEach((socket) => socket.terminate())
            )
          },
        }),
    )
    server.once('error', (cause) => {
      reject(cannotListen(options.host, options.port, cause))
      void close()
    })
    const drain = drainOf(server as Server)
  })
}

const upgrade: Upgrade = async (context, open) => {
  const handler = upgradeWebSocket(() => ({ onOpen: (_, { raw }) => attach(raw as unknown as WebSocket, open) }))
  return await handler(context, () => Promise.resolve()) ?? new Response(null, { status: 426 })
}

function attach(socket: WebSocket, open: OpenLink): void {
  const corked = new NodeSocket(socket)
  const end = open({
    write: (message) => corked.send(message),
    close: (code, reason) => corked.close(code, reason),
    save() {},
  })
  socket.on('message', (data: Uint8Array, isBinary) => end?.receive(isBinary ? data : String(data)))
  socket.on('close', (code) => end?.end(`socket closed with ${code}`))
  socket.on('error', () => socket.terminate())
}
