import { assert } from 'chai'
import * as z from 'zod'
import { FakeClock } from '../../../shared/base/clock.ts'
import { type Client, type ClientOptions, clientOver } from '../../../shared/rpc/client.ts'
import { defineService, serverStreaming, unary } from '../../../shared/rpc/contract.ts'
import type { Interceptor, RpcRequest, RpcResponse, Send } from '../../../shared/rpc/send.ts'
import { type Context, createServer, implement } from '../../../shared/rpc/server.ts'
import { memoryTransport } from '../../../shared/rpc/transports/memory.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { type Codec, decodePayload, encodePayload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'
import { countedSignal, rejected, requestOf, settled, Sums, unaryOf } from './harness.ts'

/** The server of most cases: it remembers the context of the last call. */
function sums(change: Partial<{ add: (input: { a: number; b: number }, context: Context) => unknown }> = {}) {
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
function open(server: Send, options: Partial<ClientOptions> = {}): Opened {
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
function catching(codec: Codec = 'tensors', options: Partial<ClientOptions> = {}) {
  const requests: RpcRequest[] = []
  const send: Send = (request) => {
    requests.push(request)
    return Promise.resolve(unaryOf({ sum: 1 }))
  }
  return { client: clientOver(Sums, { transport: { send, codec, close() {} }, ...options }), requests }
}

export const clientSuite: Suite = {
  name: 'client and server',
  cases: {
    'a method is a local function': async () => {
      const { server } = sums()
      using opened = open(server)
      assert.deepEqual(await opened.client.add({ a: 1, b: 2 }), { sum: 3 })
      // The schema's default is filled in.
      assert.deepEqual(await opened.client.add({ a: 1 }), { sum: 1 })
      const { y } = await opened.client.scale({ x: Tensor.from('float32', [2], [1, 2]), by: 3 })
      assert.deepEqual([y.shape, [...(y as Tensor<'float32'>).data]], [[2], [3, 6]])
      const items = []
      for await (const { n } of opened.client.count({ to: 3 })) items.push(n)
      assert.deepEqual(items, [0, 1, 2])
    },

    'every codec gives the same answer': async () => {
      const { server } = sums()
      for (const codec of ['json', 'msgpack', 'tensors', 'value'] as const) {
        const client = clientOver(Sums, { transport: { send: server, codec, close() {} } })
        const { y } = await client.scale({ x: Tensor.from('float32', [1], [2]), by: 2 })
        assert.deepEqual([...(y as Tensor<'float32'>).data], [4], codec)
      }
    },

    'input that the contract refuses is not sent, and its place is named': async () => {
      const { client, requests } = catching()
      const wrong: [unknown, RegExp][] = [
        [{ a: 'x' }, /^Cannot accept the input of test.Sums\/add: at "a": /],
        [{}, /at "a"/],
        [null, /^Cannot accept the input of test.Sums\/add: /],
        [{ a: 1, b: [] }, /at "b"/],
      ]
      for (const [input, message] of wrong) {
        const error = await rejected(client.add(input as { a: number }), 'invalid_argument', message)
        assert.isAtLeast(error.details.length, 1)
      }
      await rejected(
        client.scale({ x: [1, 2] as unknown as Tensor, by: 1 }),
        'invalid_argument',
        /at "x": .*expected a tensor/,
      )
      assert.isEmpty(requests)
    },

    'input that cannot travel is not sent, and its place is named': async () => {
      const Loose = defineService({
        name: 'test.Loose',
        version: '1.0.0',
        methods: { any: unary({ input: z.unknown(), output: z.unknown() }) },
      })
      const requests: RpcRequest[] = []
      const send: Send = (request) => Promise.resolve(void requests.push(request) as never)
      const client = clientOver(Loose, { transport: { send, codec: 'tensors', close() {} } })
      await rejected(client.any({ when: [new Date()] }), 'invalid_argument', /an instance of Date at "when.0"/)
      await rejected(client.any({ a: { b: 1n } }), 'invalid_argument', /a bigint at "a.b"/)
      assert.isEmpty(requests)
    },

    'output that the contract refuses is the server’s fault, and named by it': async () => {
      const { server } = sums({ add: () => ({ sum: 'three' }) })
      using opened = open(server)
      await rejected(opened.client.add({ a: 1 }), 'internal', /^Cannot accept the output of test.Sums\/add: at "sum": /)
    },

    'output that cannot be read or passes only the server is the server’s fault too': async () => {
      const answers: RpcResponse[] = [
        unaryOf({ sum: 'three' }),
        { kind: 'unary', metadata: {}, payload: { codec: 'msgpack', body: Uint8Array.of(0xc1) } },
        { kind: 'unary', metadata: {}, payload: { codec: 'json', body: new TextEncoder().encode('<html>') } },
        { kind: 'unary', metadata: {}, payload: { codec: 'tensors', structure: { $tensor: 'x' }, parts: [] } },
      ]
      for (const answer of answers) {
        const client = clientOver(Sums, {
          transport: { send: () => Promise.resolve(answer), codec: 'json', close() {} },
        })
        await rejected(client.add({ a: 1 }), 'internal', /the output of test.Sums\/add/)
      }
    },

    'output that cannot travel is the server’s fault': async () => {
      const Loose = defineService({
        name: 'test.Loose',
        version: '1.0.0',
        methods: { any: unary({ input: z.unknown(), output: z.unknown() }) },
      })
      for (const codec of ['json', 'msgpack', 'tensors'] as const) {
        const server = createServer([implement(Loose, { any: () => ({ when: new Map() }) })])
        const request = requestOf(1, { service: 'test.Loose', method: 'any', payload: encodePayload(1, codec) })
        await rejected(
          server(request),
          'internal',
          /Cannot send the output of test.Loose\/any: .*an instance of Map at "when"/,
        )
      }
    },

    'many problems are listed up to a bound': async () => {
      const Many = defineService({
        name: 'test.Many',
        version: '1.0.0',
        methods: { sum: unary({ input: z.array(z.number()), output: z.null() }) },
      })
      const client = clientOver(Many, { transport: catchingTransport() })
      const error = await rejected(client.sum(new Array(1000).fill('x')), 'invalid_argument', /at "0"/)
      assert.equal(error.details.length, 16)
      assert.deepEqual((error.details[3] as { path: unknown }).path, ['3'])
    },

    'metadata goes there and back': async () => {
      const { server, seen } = sums({
        add(_, context) {
          context.setMetadata('x-answer', 'yes')
          context.setMetadata('server-timing', 'run;dur=1.5')
          return { sum: 1 }
        },
      })
      using opened = open(server)
      let got: unknown
      await opened.client.add({ a: 1 }, {
        metadata: { 'x-tenant': 'a', 'x-empty': '' },
        onMetadata: (metadata) => got = metadata,
      })
      assert.deepEqual(seen.contexts[0]?.metadata, { 'x-tenant': 'a', 'x-empty': '' })
      assert.deepEqual(got, { 'x-answer': 'yes', 'server-timing': 'run;dur=1.5' })
      let of: unknown
      for await (const _ of opened.client.count({ to: 1 }, { onMetadata: (metadata) => of = metadata })) {
        /* read on */
      }
      assert.deepEqual(of, {})
    },

    'metadata that HTTP would change or take for its own is refused by both sides': async () => {
      const { client, requests } = catching()
      const wrong: Record<string, unknown>[] = [{ authorization: 'Bearer x' }, { 'content-length': '1' }, {
        'X-Upper': 'a',
      }, {
        'x-a': 'a\r\nb: c',
      }]
      for (const metadata of [...wrong, { 'x-a': ' a' }, { 'x-a': 'é' }, { 'x a': 'b' }, { '': 'a' }, { 'x-a': 1 }]) {
        await rejected(
          client.add({ a: 1 }, { metadata: metadata as Record<string, string> }),
          'invalid_argument',
          /^Cannot read the metadata/,
        )
      }
      assert.isEmpty(requests)
      for (const [name, value] of [['set-cookie', 'a=b'], ['x-a', 'a\nb'], ['location', '/']] as const) {
        const { server } = sums({ add: (_, context) => context.setMetadata(name, value) })
        using opened = open(server)
        await rejected(opened.client.add({ a: 1 }), 'internal', /Cannot set the metadata of test.Sums\/add/)
      }
    },

    'a version range that the server has not is failed_precondition and was not begun': async () => {
      const { server, seen } = sums()
      using opened = open(server)
      for (const version of ['^2.0.0', '1.3.x', '<1.2.0']) {
        using other = open(server, { version })
        const error = await rejected(other.client.add({ a: 1 }), 'failed_precondition', /this server has 1.2.0/)
        assert.isTrue(error.neverSent)
      }
      for (const version of ['', '*', '^1.0.0', '1.2.0', '>=1 <3']) {
        using other = open(server, { version })
        assert.deepEqual(await other.client.add({ a: 1 }), { sum: 1 }, version)
      }
      assert.deepEqual(await opened.client.add({ a: 1 }), { sum: 1 })
      assert.equal(seen.contexts.length, 6)
      assertRefused(
        () => clientOver(Sums, { transport: catchingTransport(), version: 'latest!' }),
        /version must be a semver range/,
      )
      await rejected(
        server(requestOf(1, { service: 'test.Sums', method: 'add', version: 'latest!' })),
        'invalid_argument',
        /must be a semver range/,
      )
    },

    'a group must be a name': () => {
      for (const group of ['', ' ', 'a b', 'é', 'x'.repeat(201), '-a', 'a\r\nb']) {
        assertRefused(() => clientOver(Sums, { transport: catchingTransport(), group }), /group must be of letters/)
      }
      clientOver(Sums, { transport: catchingTransport(), group: 'blue-2.x_y' })
    },

    'services and methods that are not there are unimplemented': async () => {
      const { server } = sums()
      const call = (service: string, method: string) => server(requestOf({ a: 1 }, { service, method }))
      await rejected(
        call('test.Nothing', 'add'),
        'unimplemented',
        /Cannot call test.Nothing: expected one of test.Sums/,
      )
      for (const method of ['subtract', 'constructor', 'toString', '__proto__', 'hasOwnProperty', '']) {
        await rejected(call('test.Sums', method), 'unimplemented', /expected one of add, scale, count/)
      }
      await rejected(call('toString', 'add'), 'unimplemented')
    },

    'a unary method is not streamed, and a stream is not called as one': async () => {
      const { server } = sums()
      const call = (method: string, stream: boolean) =>
        server(requestOf({ a: 1, to: 1 }, { service: 'test.Sums', method, stream }))
      await rejected(call('add', true), 'invalid_argument', /add: it is a unary method/)
      await rejected(call('count', false), 'invalid_argument', /count: it is a server_streaming method/)
    },

    'a client that gets the other kind of answer says so, and stops it': async () => {
      let aborted = false
      const stream: Send = ({ signal }) => {
        signal.addEventListener('abort', () => aborted = true)
        return Promise.resolve({ kind: 'stream', metadata: {}, payloads: (async function* () {})() })
      }
      const client = clientOver(Sums, { transport: { send: stream, codec: 'json', close() {} } })
      await rejected(client.add({ a: 1 }), 'internal', /expected one value, got a stream/)
      assert.isTrue(aborted)
      const one = clientOver(Sums, {
        transport: { send: () => Promise.resolve(unaryOf(1)), codec: 'json', close() {} },
      })
      await rejected(
        one.count({ to: 1 })[Symbol.asyncIterator]().next(),
        'internal',
        /expected a stream, got one value/,
      )
    },

    'a deadline spans the call, here': async () => {
      const never: Send = () => new Promise(() => {})
      const clock = new FakeClock()
      const client = clientOver(Sums, { transport: { send: never, codec: 'json', close() {} }, clock, timeoutMs: 200 })
      const [byClient, byCall] = [
        rejected(client.add({ a: 1 }), 'deadline_exceeded', /deadline of 200 ms passed/),
        rejected(client.add({ a: 1 }, { timeoutMs: 50 }), 'deadline_exceeded', /deadline of 50 ms passed/),
      ]
      await clock.advance(50)
      await byCall
      await clock.advance(150)
      await byClient
      assert.equal(clock.pending, 0)
    },

    'a deadline travels, and passes there too': async () => {
      const { server, seen } = sums({ add: () => new Promise(() => {}) })
      const opened = open(server)
      const call = rejected(opened.client.add({ a: 1 }, { timeoutMs: 70 }), 'deadline_exceeded')
      await settled()
      assert.equal(seen.contexts[0]?.timeoutMs, 70)
      await opened.clock.advance(70)
      await call
      assert.isTrue(seen.contexts[0]?.signal.aborted)
      assert.equal(opened.clock.pending, 0)
    },

    'a deadline that is none is refused, one too long is cut': async () => {
      const { client, requests } = catching()
      for (const timeoutMs of [0, -1, NaN, -Infinity]) {
        await rejected(client.add({ a: 1 }, { timeoutMs }), 'invalid_argument', /timeoutMs must be above 0/)
      }
      assert.isEmpty(requests)
      for (const timeoutMs of [Infinity, 1e12]) await client.add({ a: 1 }, { timeoutMs })
      for (const { timeoutMs } of requests) assert.closeTo(timeoutMs, 3_600_000, 1000)
    },

    'a cancelled call tells the handler': async () => {
      const { server, seen } = sums({
        add: (_, { signal }) =>
          new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      })
      using opened = open(server)
      const { signal, abort, listeners } = countedSignal()
      const call = rejected(opened.client.add({ a: 1 }, { signal }), 'canceled')
      await settled()
      abort()
      await call
      await settled()
      assert.isTrue(seen.contexts[0]?.signal.aborted)
      assert.equal(listeners(), 0)
      await rejected(opened.client.add({ a: 1 }, { signal: AbortSignal.abort() }), 'canceled')
    },

    'a handler that fails tells no secret': async () => {
      const { server } = sums({
        add() {
          throw new Error('password=secret')
        },
      })
      using opened = open(server)
      const error = await rejected(opened.client.add({ a: 1 }), 'internal', /the server failed unexpectedly/)
      assert.notInclude(JSON.stringify(error), 'secret')
    },

    'interceptors wrap calls, the first one outermost, on both sides': async () => {
      const order: string[] = []
      const noting = (name: string): Interceptor => (next) => async (request) => {
        order.push(`${name} in`)
        const response = await next(request)
        order.push(`${name} out`)
        return response
      }
      const server = createServer([implement(Sums, handlers())], [noting('c'), noting('d')])
      using opened = open(server, { interceptors: [noting('a'), noting('b')] })
      await opened.client.add({ a: 1 })
      assert.deepEqual(order, ['a in', 'b in', 'c in', 'd in', 'd out', 'c out', 'b out', 'a out'])
    },

    'what is sent is what the contract and the options say': async () => {
      const { client, requests } = catching('json', { group: 'blue', timeoutMs: 500 })
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
      await client.add({ a: 1 }, { traceparent })
      const [request] = requests
      assert.deepInclude(request, {
        service: 'test.Sums',
        method: 'add',
        version: '^1.2.0',
        group: 'blue',
        traceparent,
      })
      assert.deepInclude(request, { stream: false, idempotent: true, metadata: {} })
      assert.deepEqual(request && decodePayload(request.payload), { a: 1, b: 0 })
      await client.scale({ x: Tensor.from('float32', [0], []), by: 1 }).catch(() => {})
      assert.isFalse(requests[1]?.idempotent)
      assert.match(requests[1]?.traceparent ?? '', /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
    },

    'memory ends what is in flight when it is closed': async () => {
      const transport = memoryTransport(() => new Promise(() => {}))
      const call = rejected(transport.send(requestOf(1)), 'unavailable', /the connection was closed/)
      transport.close()
      await call
      await rejected(transport.send(requestOf(1)), 'unavailable')
    },

    'contracts with names that could not travel are refused': () => {
      const methods = { add: Sums.methods.add }
      for (const name of ['', '1a', 'a b', 'a..b', 'a/b', 'é', '.a', 'x'.repeat(201)]) {
        assertRefused(
          () => defineService({ name, version: '1.0.0', methods }),
          /^Cannot define the service: service name/,
        )
      }
      for (const version of ['', '1', '1.0', 'v1.0.0', '^1.0.0', '1.0.0 ']) {
        assertRefused(() => defineService({ name: 'a.B', version, methods }), /version must be semver/)
      }
      for (const name of ['', '1a', 'a-b', 'a.b', 'é', 'then', '_a', 'x'.repeat(201)]) {
        assertRefused(
          () => defineService({ name: 'a.B', version: '1.0.0', methods: { [name]: Sums.methods.add } }),
          /method name/,
        )
      }
      const contract = defineService({
        name: 'a.b.C_1',
        version: '1.0.0-beta.1',
        methods: { constructor: Sums.methods.add },
      })
      assert.isFrozen(contract)
      assert.equal(unary({ input: z.null(), output: z.null() }).idempotent, false)
      assert.equal(serverStreaming({ input: z.null(), output: z.null(), idempotent: true }).idempotent, true)
    },

    'a schema of any validator will do, also one that takes its time': async () => {
      const number = {
        '~standard': {
          version: 1,
          vendor: 'test',
          validate: (value: unknown) =>
            Promise.resolve(
              typeof value === 'number'
                ? { value: value * 2 }
                : { issues: [{ message: 'no number', path: [{ key: 'a' }, 0, Symbol('s')] }] },
            ),
        },
      } as const
      const Doubles = defineService({
        name: 'test.Doubles',
        version: '1.0.0',
        methods: { twice: unary({ input: number, output: number }) },
      })
      const server = createServer([implement(Doubles, { twice: (value) => value })])
      const client = clientOver(Doubles, { transport: memoryTransport(server) })
      // Each side applies its schemas: 1 · 2 · 2 on the way there, · 2 · 2 on the way back.
      assert.equal(await client.twice(1 as never), 16)
      const error = await rejected(client.twice('x' as never), 'invalid_argument', /at "a.0.Symbol\(s\)": no number$/)
      assert.deepEqual(error.details, [{ message: 'no number', path: ['a', '0', 'Symbol(s)'] }])
    },

    'an RpcError of the handler arrives as it was thrown': async () => {
      const { server } = sums({
        add() {
          throw new RpcError('already_exists', 'Cannot add twice', { details: [{ id: 7 }] })
        },
      })
      using opened = open(server)
      const error = await rejected(opened.client.add({ a: 1 }), 'already_exists', /^Cannot add twice$/)
      assert.deepEqual(error.details, [{ id: 7 }])
    },
  },
}

function handlers() {
  return {
    add: ({ a, b }: { a: number; b: number }) => ({ sum: a + b }),
    scale: ({ x }: { x: Tensor }) => ({ y: x }),
    async *count() {},
  }
}

function catchingTransport() {
  return { send: () => Promise.reject(new Error('not to be called')), codec: 'json' as const, close() {} }
}
