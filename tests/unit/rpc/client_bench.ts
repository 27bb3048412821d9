import { assert } from 'chai'
import { FakeClock } from '../../../shared/base/clock.ts'
import { type Client, type ClientOptions, clientOver } from '../../../shared/rpc/client.ts'
import type { RpcRequest, Send } from '../../../shared/rpc/send.ts'
import { type Context, createServer, implement } from '../../../shared/rpc/server.ts'
import { memoryTransport } from '../../../shared/rpc/transports/memory.ts'
import type { Codec } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { Sums, unaryOf } from './harness.ts'

/** The server of most cases: it remembers the context of the last call. */
export function sums(change: Partial<{ add: (input: { a: number; b: number }, context: Context) => unknown }> = {}) {
  const seen: { contexts: Context[] } = { contexts: [] }
  const server = createServer([
    implement(Sums, {
      add(input, context) {
        seen.contexts.push(context)
        return (change.add?.(input, context) ?? { sum: input.a + input.b }) as { sum: number }
      },
      scale: ({ x, by }) => ({
        y: Tensor.from('float32', x.shape, Array.from(x.data as Float32Array, (value) => value * by)),
      }),
      async *count({ to }) {
        for (let n = 0; n < to; n++) yield { n }
      },
    }),
  ])
  return { server, seen }
}

interface Opened extends Disposable {
  client: Client<typeof Sums>
  clock: FakeClock
}

/** A client over memory, with real frames between. Disposing of it proves that no timer is left. */
export function open(server: Send, options: Partial<ClientOptions> = {}): Opened {
  const clock = new FakeClock()
  const transport = memoryTransport(server, { clock })
  return {
    client: clientOver(Sums, { transport, clock, ...options }),
    clock,
    [Symbol.dispose]() {
      transport.close()
      assert.equal(clock.pending, 0, 'timers left over')
    },
  }
}

/** A client whose requests are caught before they are sent anywhere. */
export function catching(codec: Codec = 'tensors', options: Partial<ClientOptions> = {}) {
  const requests: RpcRequest[] = []
  const send: Send = (request) => {
    requests.push(request)
    return Promise.resolve(unaryOf({ sum: 1 }))
  }
  return { client: clientOver(Sums, { transport: { send, codec, close() {} }, ...options }), requests }
}

export function catchingTransport() {
  return { send: () => Promise.reject(new Error('not to be called')), codec: 'json' as const, close() {} }
}
