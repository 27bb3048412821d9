import { assert } from 'chai'
import { clientOver } from '../../../shared/rpc/client.ts'
import type { Interceptor, Send } from '../../../shared/rpc/send.ts'
import { createServer, implement } from '../../../shared/rpc/server.ts'
import { decodePayload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'
import { rejected, requestOf, Sums, unaryOf } from './harness.ts'
import { catching, catchingTransport, open, sums } from './client_bench.ts'

function handlers() {
  return {
    add: ({ a, b }: { a: number; b: number }) => ({ sum: a + b }),
    scale: ({ x }: { x: Tensor }) => ({ y: x }),
    async *count() {},
  }
}

/** What a call says besides its input, and whom it reaches. */
export const requestCases: Suite['cases'] = {
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
}
