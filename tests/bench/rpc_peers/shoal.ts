import { createServer as createHttpServer } from 'node:http'
import { WebSocketServer } from 'ws'
import { NodeSocket, openSocket } from '../../../functions/worker/node_socket.ts'
import { createClient } from '../../../shared/rpc/create_client.ts'
import { createServer, implement } from '../../../shared/rpc/server.ts'
import { connectWebSocket, socketPeer } from '../../../shared/rpc/transports/websocket.ts'
import { Echo, MESSAGE } from '../rpc_contract.ts'
import { listen } from './listen.ts'
import type { RpcPeer } from './peer.ts'

export const peer: RpcPeer = {
  serve() {
    const serve = createServer([implement(Echo, { echo: (input) => input })])
    const server = createHttpServer()
    const sockets = new WebSocketServer({ server, perMessageDeflate: false })
    sockets.on('connection', (socket) => void socketPeer(new NodeSocket(socket), { serve }))
    return listen(server)
  },
  async connect(port) {
    const transport = await connectWebSocket(
      `ws://127.0.0.1:${port}`,
      openSocket,
    )
    const client = createClient(Echo, { transport })
    return () => client.echo(MESSAGE)
  },
}
