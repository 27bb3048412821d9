import { owned } from '../../base/bytes.ts'
import { RpcError } from '../../wire/errors.ts'
import { IN_PROCESS_SIZES } from '../frame_headers.ts'
import { Peer } from '../peer.ts'
import type { Send, Transport } from '../send.ts'

/** What a MessagePort, a browser's Worker and node:worker_threads' ports have in common. */
export interface PortLike {
  postMessage(message: unknown, transfer: ArrayBuffer[]): void
  addEventListener(
    type: 'message' | 'messageerror',
    listener: (event: { data?: unknown }) => void,
  ): void
  start?(): void
  close?(): void
}

/**
 * A peer over a port. Messages are moved to the other side, not copied. When the port brings what is no frame, it is
 * closed and what is in flight fails. That the other side has gone is for the port's owner to tell: few runtimes do.
 */
export function portPeer(port: PortLike, serve?: Send): Peer {
  const peer = new Peer({ write: (message) => post(port, message), serve, ...IN_PROCESS_SIZES })
  const end = (reason: string, cause?: unknown) => {
    peer.close(new RpcError('unavailable', `Cannot finish the call: ${reason}`, { cause }))
    port.close?.()
  }
  port.addEventListener('message', ({ data }) => {
    if (!(data instanceof Uint8Array)) return
    try {
      peer.receive(data)
    } catch (cause) {
      end('the port brought a message that is no frame', cause)
    }
  })
  port.addEventListener('messageerror', () => end('the port brought a message that cannot be read'))
  port.start?.()
  return peer
}

function post(port: PortLike, framed: Uint8Array<ArrayBuffer>): void {
  // A port moves or copies whole buffers, and short messages share one.
  const message = owned(framed)
  try {
    port.postMessage(message, [message.buffer])
  } catch {
    // workerd's ports move nothing; what does not arrive by a copy either is the caller's to hear of.
    port.postMessage(message, [])
  }
}

export function messagePortTransport(port: PortLike): Transport {
  const peer = portPeer(port)
  return {
    send: peer.send,
    codec: 'tensors',
    close() {
      peer.close(new RpcError('unavailable', 'Cannot finish the call: the port was closed'))
      port.close?.()
    },
  }
}
