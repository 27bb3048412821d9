import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerOptions,
  type ServerResponse,
} from 'node:http'
import { type AddressInfo, Server as NetServer } from 'node:net'
import { serve, type ServerType, upgradeWebSocket } from '@hono/node-server'
import { type WebSocket, WebSocketServer } from 'ws'
import { sleep, systemClock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { guardedLookup } from './guarded_lookup.ts'
import { nodeRpc } from './node_rpc.ts'
import { nodeUpstream } from './node_upstream.ts'
import { NodeSocket, openSocket } from '../worker/node_socket.ts'
import {
  cannotListen,
  type HostOptions,
  type LocalRelay,
  openHostGateway,
  type OpenLink,
  type Upgrade,
} from './host.ts'

export interface RunningGateway {
  url: string
  store: string
  mode: string
  /** The relay in this process. */
  local: LocalRelay
  /** Answers what is in flight, then runs `beforeLinksEnd` (local workers leave), then ends the relay and the store. */
  close(beforeLinksEnd?: () => Promise<void>): Promise<void>
}

/** How long connections without a request stay open when the gateway stops: a caller's request may be on its way. */
const QUIET_MS = 200
/** How long a worker may take to answer a close frame. */
const CLOSE_MS = 1_000

/** Connections whose request's headers do not come in time are closed: each holds memory, and says nothing. */
const CONNECTIONS = {
  headersTimeout: DEFAULTS.headersTimeoutMs,
  connectionsCheckingInterval: 1_000,
  keepAliveTimeout: DEFAULTS.keepAliveMs,
}

/** Runs the gateway on Node. Resolves once it listens; port 0 takes a free one. */
export async function startNodeGateway(options: HostOptions): Promise<RunningGateway> {
  const { app, guard, rpc, store, local, endStreams, close } = await openHostGateway(
    {
      upstream: nodeUpstream(),
      openSocket: (url, headers) => openSocket(url, headers, guardedLookup()),
      ...options,
    },
    upgrade,
  )
  const serveRpc = nodeRpc(guard, rpc)
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
            // Not the HTTP server's own `close`, which cuts idle connections at once: a call may be on its way on one.
            const closed = new Promise<unknown>((done) =>
              NetServer.prototype.close.call(server, done)
            )
            endStreams()
            await goQuiet()
            await answered(options.drainMs ?? DEFAULTS.drainMs)
            await beforeLinksEnd?.()
            await close()
            // Browsers open connections ahead of need and say nothing on them: they would hold the server open for ever.
            if ('closeAllConnections' in server) server.closeAllConnections()
            // A worker that hangs would hold it open too: it never answers the close frame.
            const cut = setTimeout(() => sockets.clients.forEach((socket) => socket.terminate()), CLOSE_MS)
            await closed
            clearTimeout(cut)
          },
        }),
    )
    server.once('error', (cause) => {
      reject(cannotListen(options, cause))
      void close()
    })
    const { answered, goQuiet } = inFlight(server)
  })
}

interface InFlight {
  /** Waits until all requests are answered, for at most `limitMs`. */
  answered(limitMs: number): Promise<void>
  /** Ends each connection with its next answer, and gives those that wait a moment to bring what is on its way. */
  goQuiet(): Promise<void>
}

/** Counts a server's requests. */
function inFlight(server: ServerType): InFlight {
  let active = 0
  let quiet = false
  let onIdle = () => {}
  server.on('request', (_request: IncomingMessage, response: ServerResponse) => {
    if (quiet) response.shouldKeepAlive = false
    active++
    response.once('close', () => --active === 0 && onIdle())
  })
  return {
    async answered(limitMs) {
      if (active === 0) return
      const limit = new AbortController()
      const idle = new Promise<void>((resolve) => onIdle = resolve)
      await Promise.race([idle, sleep(systemClock, limitMs, limit.signal).catch(() => {})])
      limit.abort()
    },
    async goQuiet() {
      quiet = true
      const connections = await new Promise<number>((resolve) =>
        server.getConnections((_error, count) => resolve(count ?? 0))
      )
      if (connections > 0) await sleep(systemClock, QUIET_MS)
    },
  }
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
