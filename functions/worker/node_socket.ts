import { WebSocket } from 'ws'
import { LIMITS } from '../../shared/base/limits.ts'
import { type SocketLike, SUBPROTOCOL } from '../../shared/rpc/transports/websocket.ts'

/**
 * A socket to a relay on Node. `ws` and not the built-in WebSocket: it carries the relay benchmark's calls at about
 * half the processor time, and bounds what one message may hold.
 */
export function openSocket(url: string | URL): SocketLike {
  const options = { perMessageDeflate: false, maxPayload: LIMITS.maxFrameBytes, followRedirects: false }
  const socket = new WebSocket(url, SUBPROTOCOL, options)
  // Its close follows and says what it must; an error that nobody hears would end the process.
  socket.on('error', () => {})
  return socket as unknown as SocketLike
}
