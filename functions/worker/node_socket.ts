import { WebSocket } from 'ws'
import { LIMITS } from '../../shared/base/limits.ts'
import { type SocketLike, SUBPROTOCOL } from '../../shared/rpc/transports/websocket.ts'

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/

/**
 * Masks keep proxies that read along from taking a frame's bytes for HTTP (RFC 6455, 10.3). Where none can, they would only
 * cost a pass over each byte at both ends: `ws` skips both where the mask is 0.
 */
function zeroMask(mask: Uint8Array): void {
  mask.fill(0)
}

/**
 * A socket to a relay on Node. `ws` and not the built-in WebSocket: it carries the relay benchmark's calls at about
 * half the processor time, and bounds what one message may hold.
 */
export function openSocket(url: string | URL): SocketLike {
  const { protocol, hostname } = new URL(url)
  const options = {
    perMessageDeflate: false,
    maxPayload: LIMITS.maxFrameBytes,
    followRedirects: false,
    ...((protocol === 'wss:' || LOOPBACK.test(hostname)) && { generateMask: zeroMask }),
  }
  const socket = new WebSocket(url, SUBPROTOCOL, options)
  // Its close follows and says what it must; an error that nobody hears would end the process.
  socket.on('error', () => {})
  return socket as unknown as SocketLike
}
