/** The servers of the rpc benchmark, in one process: node:http's echo as the floor, and Shoal over a WebSocket and HTTP. */
import { createServer as createHttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import process from 'node:process'
import { WebSocketServer } from 'ws'
import { createServer, implement } from '../../shared/rpc/server.ts'
import { type SocketLike, socketPeer } from '../../shared/rpc/transports/websocket.ts'
import { Echo } from './rpc_contract.ts'

const echo = createServer([implement(Echo, { echo: (input) => input })])

const server = createHttpServer((request, response) => {
  const parts: Uint8Array[] = []
  request.on('data', (part) => parts.push(part))
  request.on('end', () => {
    const body = Buffer.concat(parts)
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.byteLength }).end(body)
  })
})
const sockets = new WebSocketServer({ server, perMessageDeflate: false })
sockets.on('connection', (socket) => void socketPeer(socket as unknown as SocketLike, { serve: echo }))
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }))
