import type { Clock } from '../../base/clock.ts'
import { RpcError } from '../../wire/errors.ts'
import { Peer } from '../peer.ts'
import type { Send, Transport } from '../send.ts'

export interface MemoryOptions {
  /** Of the serving side: it holds calls to their deadlines. */
  clock?: Clock
}

/**
 * Calls a server in the same process through the real codec and frames: what works here works on a socket.
 * Messages are delivered in later microtasks, as a socket would.
 */
export function memoryTransport(serve: Send, { clock }: MemoryOptions = {}): Transport {
  const close = (error: RpcError) => {
    client.close(error)
    server.close(error)
  }
  const deliver = (to: () => Peer) => (message: Uint8Array) =>
    queueMicrotask(() => {
      try {
        to().receive(message)
      } catch (thrown) {
        close(RpcError.from(thrown))
      }
    })
  const client: Peer = new Peer({ write: deliver(() => server) })
  const server: Peer = new Peer({ write: deliver(() => client), serve, clock })
  return {
    send: client.send,
    codec: 'tensors',
    close: () => close(new RpcError('unavailable', 'Cannot finish the call: the connection was closed')),
  }
}
