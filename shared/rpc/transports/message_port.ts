import { RpcError } from '../../wire/errors.ts'
import { Peer } from '../peer.ts'
import type { Send, Transport } from '../send.ts'

/** What a MessagePort, a browser's Worker and node:worker_threads' ports have in common. */
export interface PortLike {
  postMessage(message: unknown, transfer: ArrayBuffer[]): void
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void
  start?(): void
  close?(): void
}

/** A peer over a port. Messages are moved to the other side, not copied. */
export function portPeer(port: PortLike, serve?: Send): Peer {
  const peer = new Peer({ write: (message) => port.postMessage(message, [message.buffer]), serve })
  port.addEventListener('message', ({ data }) => {
    if (data instanceof Uint8Array) peer.receive(data)
  })
  port.start?.()
  return peer
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
