import { createServer } from 'node:http'
import { newWebSocketRpcSession, RpcTarget } from 'capnweb'
import { WebSocket, WebSocketServer } from 'ws'
import { MESSAGE } from '../rpc_contract.ts'
import { listen } from './listen.ts'
import type { RpcPeer } from './peer.ts'

class Echo extends RpcTarget {
  echo(message: unknown): unknown {
    return message
  }
}

export const peer: RpcPeer = {
  serve() {
    const server = createServer()
    const sockets = new WebSocketServer({ server, perMessageDeflate: false })
    sockets.on('connection', (socket) => void newWebSocketRpcSession(socket, new Echo()))
    return listen(server)
  },
  connect(port) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`, {
      perMessageDeflate: false,
    })
    const far = newWebSocketRpcSession<Echo>(socket)
    return Promise.resolve(async () => await far.echo(MESSAGE))
  },
}
