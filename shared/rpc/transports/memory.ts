import { RpcError } from '../../wire/errors.ts'
import { Peer } from '../peer.ts'
import type { Send, Transport } from '../send.ts'

/**
 * Calls a server in the same process through the real codec and frames: what works here works on a socket.
 * Messages are delivered in later microtasks, as a socket would.
 */
export function memoryTransport(serve: Send): Transport {
  const client = new Peer({ write: (message) => queueMicrotask(() => server.receive(message)) })
  const server = new Peer({ write: (message) => queueMicrotask(() => client.receive(message)), serve })
  return {
    send: client.send,
    codec: 'tensors',
    close() {
      const gone = new RpcError('unavailable', 'Cannot finish the call: the connection was closed')
      client.close(gone)
      server.close(gone)
    },
  }
}
