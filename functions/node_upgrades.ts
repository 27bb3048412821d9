import { type IncomingMessage, type Server, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { LIMITS } from '../shared/base/limits.ts'
import type { ServedSockets } from '../shared/rpc/served_sockets.ts'
import { SUBPROTOCOL } from '../shared/rpc/transports/websocket.ts'
import { NodeSocket } from './worker/node_socket.ts'

/** Where sockets for calls are opened, below whatever path a proxy puts before it. */
const PATH = /^[^?]*\/rpc(\?|$)/

/**
 * Takes sockets for calls on a server of Node.
 * @returns a function that cuts those which have not closed
 */
export function takeSockets(server: Server, sockets: ServedSockets): () => void {
  const opened = new WebSocketServer({
    noServer: true,
    maxPayload: LIMITS.maxFrameBytes,
    perMessageDeflate: false,
    handleProtocols: () => SUBPROTOCOL,
  })
  server.on('upgrade', (request: IncomingMessage, connection: Duplex, head: Buffer) => {
    const verdict = PATH.test(request.url ?? '')
      ? sockets.admit({ get: (name) => request.headers[name]?.toString() })
      : { status: 404 } as const
    if (verdict.status !== 101) return refuse(connection, verdict.status)
    opened.handleUpgrade(request, connection, head, (socket) => {
      sockets.accept(new NodeSocket(socket), verdict.isGateway)
    })
  })
  return () => opened.clients.forEach((socket) => socket.terminate())
}

function refuse(connection: Duplex, status: number): void {
  connection.on('error', () => {})
  connection.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
}
