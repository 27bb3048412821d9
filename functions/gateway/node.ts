import type { AddressInfo } from 'node:net'
import { serve, upgradeWebSocket } from '@hono/node-server'
import { type WebSocket, WebSocketServer } from 'ws'
import { LIMITS } from '../../shared/base/limits.ts'
import { type HostOptions, openHostGateway, type OpenLink, type Upgrade } from './host.ts'

export interface RunningGateway {
  url: string
  store: string
  mode: string
  close(): Promise<void>
}

/** Runs the gateway on Node. Resolves once it listens; port 0 takes a free one. */
export async function startNodeGateway(options: HostOptions): Promise<RunningGateway> {
  const { app, store, mode, close } = await openHostGateway(options, upgrade)
  const sockets = new WebSocketServer({ noServer: true, maxPayload: LIMITS.maxFrameBytes, perMessageDeflate: false })
  return await new Promise((resolve, reject) => {
    const server = serve(
      { fetch: app.fetch, hostname: options.host, port: options.port, websocket: { server: sockets } },
      ({ port }: AddressInfo) =>
        resolve({
          url: `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`,
          store,
          mode,
          async close() {
            const closed = new Promise((done) => server.close(done))
            await close()
            if ('closeIdleConnections' in server) server.closeIdleConnections()
            await closed
          },
        }),
    )
    server.once('error', reject)
  })
}

const upgrade: Upgrade = async (context, open) => {
  const handler = upgradeWebSocket(() => ({ onOpen: (_, { raw }) => attach(raw as unknown as WebSocket, open) }))
  return await handler(context, () => Promise.resolve()) ?? new Response(null, { status: 426 })
}

function attach(socket: WebSocket, open: OpenLink): void {
  const end = open({
    write: (message) => socket.send(message),
    close: (code, reason) => socket.close(code, reason),
    save() {},
  })
  socket.on('message', (data: Uint8Array, isBinary) => end?.receive(isBinary ? data : String(data)))
  socket.on('close', (code) => end?.end(`socket closed with ${code}`))
  socket.on('error', () => socket.terminate())
}
