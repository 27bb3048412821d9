import { assert } from 'chai'
import { LIMITS } from '../../../shared/base/limits.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import { Peer } from '../../../shared/rpc/peer.ts'
import type { RpcRequest, RpcResponse, Send } from '../../../shared/rpc/send.ts'
import { createServer, implement } from '../../../shared/rpc/server.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { FrameReader } from '../../../shared/wire/frame.ts'
import { decodePayload, encodePayload, type Payload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import {
  assertIdle,
  countedSignal,
  deliver,
  pairOf,
  type PeerPair,
  rejected,
  requestOf,
  settled,
  Sums,
} from './harness.ts'

export const streamSuite: Suite = {
  name: 'streams',
  cases: {
    'items come in order and end': async () => {
      await using pair = pairOf(streaming(numbers(1000)))
      const { signal, listeners } = countedSignal()
      const items = []
      for await (const item of await open(pair, { signal })) items.push(decodePayload(item))
      assert.deepEqual(items, Array.from({ length: 1000 }, (_, n) => n))
      assert.equal(listeners(), 0)
      assert.equal(pair.late, 0)
    },

    'a stream of nothing ends at once, and brings its metadata': async () => {
      await using pair = pairOf(() =>
        Promise.resolve({ kind: 'stream', metadata: { 'x-a': 'b' }, payloads: numbers(0)() })
      )
      const response = await pair.client.send(requestOf(0, { stream: true }))
      assert.deepEqual(response.metadata, { 'x-a': 'b' })
      if (response.kind !== 'stream') return assert.fail('expected a stream')
      for await (const _ of response.payloads) assert.fail('expected no item')
    },

    'many streams share a socket and keep apart': async () => {
      await using pair = pairOf((request) => streaming(numbers(decodePayload(request.payload) as number))(request))
      const read = async (count: number) => {
        const items: unknown[] = []
        for await (const item of await open(pair, { payload: encodePayload(count, 'tensors') })) {
          items.push(decodePayload(item))
        }
        return items
      }
      const all = await Promise.all([5, 50, 0, 500, 1].map(read))
      assert.deepEqual(all.map((items) => items.length), [5, 50, 0, 500, 1])
      for (const items of all) assert.deepEqual(items, [...items.keys()])
    },

    'an error in the middle comes after what was sent before it': async () => {
      await using pair = pairOf(streaming(async function* () {
        yield* numbers(3)()
        throw new RpcError('aborted', 'Cannot count further')
      }))
      const items: unknown[] = []
      const reading = (async () => {
        for await (const item of await open(pair)) items.push(decodePayload(item))
      })()
      await rejected(reading, 'aborted', /^Cannot count further$/)
      assert.deepEqual(items, [0, 1, 2])
    },

    'an error before the first item refuses the call': async () => {
      await using pair = pairOf(() => Promise.reject(new RpcError('not_found', 'Cannot find it')))
      await rejected(pair.client.send(requestOf(0, { stream: true })), 'not_found')
    },

    'a reader that stops early stops the producer': async () => {
      const { stopped, made, produce } = endless()
      await using pair = pairOf(streaming(produce))
      let read = 0
      for await (const _ of await open(pair)) if (++read === 5) break
      await settled()
      assert.isTrue(stopped())
      assert.isBelow(made(), 10_000)
      assert.equal(pair.requests.filter(({ type }) => type === 'cancel').length, 1)
      assert.isFalse(pair.answers.some(({ type }) => type === 'end'), 'nobody waits for its end')
    },

    'a caller that aborts stops the producer and hears of it': async () => {
      const { stopped, produce } = endless()
      await using pair = pairOf(streaming(produce))
      const { signal, abort, listeners } = countedSignal()
      let read = 0
      const reading = (async () => {
        for await (const _ of await open(pair, { signal })) if (++read === 5) abort()
      })()
      await rejected(reading, 'canceled')
      await settled()
      assert.isTrue(stopped())
      assert.equal(listeners(), 0)
      assert.equal(pair.requests.filter(({ type }) => type === 'cancel').length, 1)
      assert.isFalse(pair.answers.some(({ type }) => type === 'end'), 'nobody waits for its end')
    },

    'a deadline ends a stream there, and tells the reader': async () => {
      const { stopped, produce } = endless(() => new Promise(() => {}))
      const hung = streaming(produce)
      const pair = pairOf(hung)
      const items: unknown[] = []
      const reading = (async () => {
        for await (const item of await open(pair, { timeoutMs: 100 })) items.push(decodePayload(item))
      })()
      const refused = rejected(reading, 'deadline_exceeded', /deadline of 100 ms/)
      await settled()
      assert.equal(pair.server.serving, 1)
      await pair.clock.advance(100)
      await refused
      assert.equal(pair.clock.pending, 0)
      // This producer waits for what never comes: it keeps its place, and nothing else.
      assert.deepEqual([pair.server.serving, stopped(), pair.client.inFlight], [1, false, 0])
    },

    'a producer is no further ahead than the window, however long nobody reads': async () => {
      const { made, produce } = endless()
      await using pair = pairOf(streaming(produce))
      const stream = await open(pair)
      for (let i = 0; i < 10; i++) await settled()
      const sentBytes = pair.answers.reduce((total, { bytes }) => total + bytes, 0)
      const sent = made()
      assert.isAtLeast(sentBytes, LIMITS.streamWindowBytes)
      assert.isBelow(sentBytes, LIMITS.streamWindowBytes + 2000)
      await settled()
      assert.equal(made(), sent)
      // Reading sets it going again, and nothing was lost in between.
      let read = 0
      for await (const item of stream) {
        assert.equal((decodePayload(item) as { n: number }).n, read)
        if (++read > 2 * sent) break
      }
      assert.isAbove(made(), sent)
    },

    'a chunk larger than the window passes, alone': async () => {
      const bytes = new Uint8Array(3 * LIMITS.streamWindowBytes)
      let made = 0
      await using pair = pairOf(streaming(async function* () {
        for (; made < 6; made++) {
          yield encodePayload({ n: made, x: new Tensor('uint8', [bytes.length], bytes) }, 'tensors')
        }
      }))
      const seen: number[] = []
      const stream = await open(pair)
      await settled()
      await settled()
      assert.isAtMost(made, 1)
      for await (const item of stream) {
        const { n, x } = decodePayload(item) as { n: number; x: Tensor }
        assert.equal(x.bytes.byteLength, bytes.byteLength)
        seen.push(n)
      }
      assert.deepEqual(seen, [0, 1, 2, 3, 4, 5])
    },

    'a stream that runs ahead of its reader is ended': async () => {
      const told: string[] = []
      const reader = new FrameReader()
      const client = new Peer({ write: (message) => told.push(reader.read(message)?.type ?? '') })
      const response = client.send(requestOf(0, { stream: true }))
      deliver(client, { type: 'response', header: { stream: true } })
      const parts = [new Uint8Array(LIMITS.streamWindowBytes)]
      deliver(client, { type: 'chunk', header: { codec: 'json' }, parts })
      assert.deepEqual(told, ['request'])
      deliver(client, { type: 'chunk', header: { codec: 'json' }, parts })
      assert.deepEqual(told, ['request', 'cancel'])
      assertIdle(client, 'client')
      const stream = await response
      if (stream.kind !== 'stream') return assert.fail('expected a stream')
      let read = 0
      const reading = (async () => {
        for await (const _ of stream.payloads) read++
      })()
      await rejected(reading, 'internal', /the stream ran ahead of its reader/)
      assert.equal(read, 1)
    },

    'credit beyond the window is not saved up': async () => {
      const { made, produce } = endless()
      const answers: number[] = []
      const server = new Peer({ write: (message) => answers.push(message.byteLength), serve: streaming(produce) })
      deliver(server, { type: 'request', header: { service: 's', method: 'm', stream: true } })
      for (let i = 0; i < 100; i++) deliver(server, { type: 'credit', header: { bytes: 2 ** 53 - 1 } })
      deliver(server, { type: 'credit', id: 99, header: { bytes: 1 } })
      for (let i = 0; i < 10; i++) await settled()
      const first = answers.reduce((total, bytes) => total + bytes, 0)
      assert.isAtLeast(first, LIMITS.streamWindowBytes)
      assert.isBelow(first, 2 * LIMITS.streamWindowBytes + 2000)
      assert.isAbove(made(), 0)
      deliver(server, { type: 'cancel' })
      await settled()
      assertIdle(server, 'server')
    },

    'a closed socket fails a stream after what has come': async () => {
      const { stopped, produce } = endless()
      await using pair = pairOf(streaming(produce))
      const error = new RpcError('unavailable', 'Cannot finish the call: the socket is gone')
      const items: unknown[] = []
      const reading = (async () => {
        for await (const item of await open(pair)) {
          items.push((decodePayload(item) as { n: number }).n)
          if (items.length === 3) {
            pair.client.close(error)
            pair.server.close(error)
          }
        }
      })()
      await rejected(reading, 'unavailable', /the socket is gone/)
      assert.deepEqual(items.slice(0, 3), [0, 1, 2])
      await settled()
      assert.isTrue(stopped())
    },

    'an item that cannot be sent ends the stream with why': async () => {
      await using pair = pairOf(streaming(async function* () {
        yield encodePayload(1, 'tensors')
        yield { codec: 'tensors', structure: { n: 1n }, parts: [] }
      }))
      const reading = (async () => {
        for await (const _ of await open(pair)) { /* read on */ }
      })()
      await rejected(reading, 'internal', /Cannot encode/)
    },

    'an item that cannot be read ends the stream': async () => {
      const client = new Peer({ write: () => {} })
      const response = client.send(requestOf(0, { stream: true }))
      deliver(client, { type: 'response', header: { stream: true } })
      deliver(client, { type: 'chunk', header: { codec: 'bson' } })
      const stream = await response
      if (stream.kind !== 'stream') return assert.fail('expected a stream')
      await rejected(collect(stream.payloads), 'internal', /codec must be/)
      assertIdle(client, 'client')
    },

    'a second beginning ends the stream': async () => {
      const client = new Peer({ write: () => {} })
      const response = client.send(requestOf(0, { stream: true }))
      for (let i = 0; i < 2; i++) deliver(client, { type: 'response', header: { stream: true } })
      const stream = await response
      if (stream.kind !== 'stream') return assert.fail('expected a stream')
      await rejected(collect(stream.payloads), 'internal', /it came a second time/)
      assertIdle(client, 'client')
    },

    'an error after the beginning reaches the reader, as a response too': async () => {
      for (const type of ['end', 'response'] as const) {
        const client = new Peer({ write: () => {} })
        const response = client.send(requestOf(0, { stream: true }))
        deliver(client, { type: 'response', header: { stream: true } })
        deliver(client, { type, header: { error: { code: 'aborted', message: 'Cannot go on' } } })
        const stream = await response
        if (stream.kind !== 'stream') return assert.fail('expected a stream')
        await rejected(collect(stream.payloads), type === 'end' ? 'aborted' : 'internal')
        assertIdle(client, 'client')
      }
    },

    'one value where a stream was asked for fails the call': async () => {
      const client = new Peer({ write: () => {} })
      const call = rejected(client.send(requestOf(0, { stream: true })), 'internal', /expected a stream, got one value/)
      deliver(client, { type: 'response', header: { message: 1 } })
      await call
      assertIdle(client, 'client')
    },

    'the typed client reads streams, checks each item and stops its server': async () => {
      let stopped = false
      const server = createServer([
        implement(Sums, {
          add: () => ({ sum: 0 }),
          scale: ({ x }) => ({ y: x }),
          async *count({ to }) {
            try {
              for (let n = 0; n < to; n++) yield { n: n === 500 ? 'five hundred' as unknown as number : n }
            } finally {
              stopped = true
            }
          },
        }),
      ])
      await using pair = pairOf(server)
      const client = clientOver(Sums, {
        transport: { send: pair.client.send, codec: 'tensors', close() {} },
        clock: pair.clock,
      })
      const items: number[] = []
      for await (const { n } of client.count({ to: 100 })) items.push(n)
      assert.deepEqual(items, Array.from({ length: 100 }, (_, n) => n))
      for await (const { n } of client.count({ to: 1e9 })) if (n === 10) break
      await settled()
      assert.isTrue(stopped)
      await rejected(collect(client.count({ to: 600 })), 'internal', /an output of test.Sums\/count: at "n"/)
      await rejected(
        collect(client.count({ to: 'x' as unknown as number })),
        'invalid_argument',
        /the input of test.Sums\/count: at "to"/,
      )
    },
  },
}

async function open(pair: PeerPair, change: Partial<RpcRequest> = {}): Promise<AsyncIterable<Payload>> {
  const response: RpcResponse = await pair.client.send(requestOf(0, { stream: true, timeoutMs: 60_000, ...change }))
  if (response.kind !== 'stream') return assert.fail('expected a stream')
  return response.payloads
}

function streaming(produce: () => AsyncIterable<Payload>): Send {
  return () => Promise.resolve({ kind: 'stream', metadata: {}, payloads: produce() })
}

function numbers(count: number): () => AsyncGenerator<Payload> {
  return async function* () {
    for (let n = 0; n < count; n++) yield encodePayload(n, 'tensors')
  }
}

/** Makes a window of a thousand items or so. */
const FILLER = 'x'.repeat(1000)

/** A producer without end that tells how many items it has made and whether it was stopped. */
function endless(before: () => Promise<void> = () => Promise.resolve()) {
  let made = 0
  let stopped = false
  async function* produce(): AsyncGenerator<Payload> {
    try {
      for (;;) {
        await before()
        yield encodePayload({ n: made++, filler: FILLER }, 'tensors')
      }
    } finally {
      stopped = true
    }
  }
  return { made: () => made, stopped: () => stopped, produce }
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = []
  for await (const item of items) collected.push(item)
  return collected
}
