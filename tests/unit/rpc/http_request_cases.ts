import { assert } from 'chai'
import { LIMITS } from '../../../shared/base/limits.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import { CONTENT_TYPES, httpStatusOf, readHttpRequest } from '../../../shared/rpc/http.ts'
import { createServer, implement } from '../../../shared/rpc/server.ts'
import { decodePayload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { echo, rejected, requestOf, Sums, valueOf } from './harness.ts'
import { messageOf, read, served, zeros } from './http_messages.ts'

const sumsServer = createServer([
  implement(Sums, {
    add: ({ a, b }) => ({ sum: a + b }),
    scale: ({ x }) => ({ y: x }),
    async *count() {},
  }),
])

function streamingRequest(bytes: number, headers: Record<string, string>): [() => number, Request] {
  const [pulled, body] = zeros(bytes)
  const init = { method: 'POST', body, headers, duplex: 'half' } as RequestInit
  return [pulled, new Request('http://g/', init)]
}

/** What a request may say, and what is refused. */
export const requestCases: Suite['cases'] = {
  'calls go over HTTP in both codecs': async () => {
    const { transport, seen } = served(sumsServer)
    for (const codec of ['json', 'msgpack'] as const) {
      const client = clientOver(Sums, { transport: transport({ codec }) })
      assert.deepEqual(await client.add({ a: 1, b: 2 }), { sum: 3 })
      const x = Tensor.from('int64', [2], [1n, -(2n ** 60n)])
      const { y } = await client.scale({ x, by: 1 })
      assert.deepEqual([...(y as Tensor<'int64'>).data], [1n, -(2n ** 60n)])
    }
    for (const [i, request] of seen.requests.entries()) {
      assert.equal(request.method, 'POST')
      assert.equal(new URL(request.url).pathname, `/rpc/test.Sums/${i % 2 === 0 ? 'add' : 'scale'}`)
      assert.equal(request.headers.get('content-type'), CONTENT_TYPES[i < 2 ? 'json' : 'msgpack'])
      assert.equal(request.headers.get('connect-protocol-version'), '1')
    }
  },

  'what a call carries stands in headers': async () => {
    const { transport, seen } = served(echo)
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const change = {
      service: 'a.B',
      method: 'm',
      version: '^1.2.0',
      group: 'blue',
      idempotent: true,
      timeoutMs: 432.4,
      traceparent,
    }
    const sent = requestOf({ a: 1 }, { ...change, metadata: { 'x-tenant': 'a' } })
    assert.deepEqual(await valueOf(transport().send(sent)), { a: 1 })
    const [headers] = seen.requests.map((request) => request.headers)
    const expected = {
      'shoal-version': '^1.2.0',
      'shoal-group': 'blue',
      'shoal-idempotent': '1',
      'connect-timeout-ms': '432',
    }
    for (const [name, value] of Object.entries({ ...expected, traceparent, 'x-tenant': 'a' })) {
      assert.equal(headers?.get(name), value)
    }
    const { signal: _, payload, ...got } = seen.calls[0] ?? sent
    assert.deepEqual<unknown>(got, { ...change, timeoutMs: 432, metadata: { 'x-tenant': 'a' }, stream: false })
    assert.equal(payload.codec, 'msgpack')
  },

  'what a call leaves out has its default': async () => {
    const request = new Request('http://gateway/rpc/a.B/m', {
      method: 'POST',
      body: '{}',
      headers: { 'content-type': 'application/json' },
    })
    const { payload, traceparent, ...got } = await readHttpRequest(request, 'a.B', 'm')
    assert.deepEqual<unknown>(got, {
      service: 'a.B',
      method: 'm',
      version: '',
      group: 'default',
      stream: false,
      idempotent: false,
      timeoutMs: 30_000,
      metadata: {},
    })
    assert.match(traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
    assert.deepEqual(decodePayload(payload), {})
  },

  'content types are read as HTTP means them': async () => {
    const codecs = {
      'application/json': 'json',
      'Application/JSON; charset=utf-8': 'json',
      'application/msgpack': 'msgpack',
      'application/x-msgpack': 'msgpack',
    }
    for (const [type, codec] of Object.entries(codecs)) {
      assert.equal((await read({ 'content-type': type })).payload.codec, codec)
    }
    for (const type of ['text/plain', 'application/proto', 'application/jsonp', 'multipart/form-data', '', 'json']) {
      const error = await rejected(
        read({ 'content-type': type }),
        'unimplemented',
        /content-type must be application\/json or/,
      )
      assert.equal(httpStatusOf(error), 415)
    }
  },

  'packed bodies are refused with 415': async () => {
    for (const encoding of ['gzip', 'br', 'deflate', 'zstd', 'gzip, identity']) {
      const error = await rejected(
        read({ 'content-encoding': encoding }),
        'unimplemented',
        /content-encoding must be identity/,
      )
      assert.equal(httpStatusOf(error), 415)
    }
    assert.deepEqual(decodePayload((await read({ 'content-encoding': 'identity' })).payload), { a: 1 })
  },

  'bodies over the limit are refused with 413, with and without their length': async () => {
    const type = { 'content-type': CONTENT_TYPES.msgpack }
    const tooLong = LIMITS.maxMessageBytes + 1
    const declared = messageOf({ ...type, 'content-length': String(tooLong) }, new Uint8Array(10))
    const [pulled, streamed] = streamingRequest(tooLong + 5 * LIMITS.maxFrameBytes, type)
    for (const request of [declared, streamed]) {
      const error = await rejected(
        readHttpRequest(request, 'a.B', 'm'),
        'resource_exhausted',
        /its body may have at most 33554432 bytes/,
      )
      assert.equal(httpStatusOf(error), 413)
    }
    // It stopped reading as soon as it knew.
    assert.isAtMost(pulled(), tooLong + 2 * LIMITS.maxFrameBytes)
    const [, exact] = streamingRequest(LIMITS.maxMessageBytes, type)
    const { payload } = await readHttpRequest(exact, 'a.B', 'm')
    assert.equal(payload.codec === 'msgpack' && payload.body.byteLength, LIMITS.maxMessageBytes)
  },

  'a length that lies does not get more in': async () => {
    const body = new Uint8Array(LIMITS.maxMessageBytes + 1)
    const request = messageOf({ 'content-type': CONTENT_TYPES.msgpack, 'content-length': '5' }, body)
    await rejected(readHttpRequest(request, 'a.B', 'm'), 'resource_exhausted')
  },

  'deadlines are digits, and no longer than an hour': async () => {
    for (const value of ['0', '', '-1', '1.5', '1e3', '12345678901', 'abc', '0x10', '\u00b9']) {
      const refused = read({ 'connect-timeout-ms': value })
      await rejected(refused, 'invalid_argument', /connect-timeout-ms must be 1 to 10 digits above 0/)
    }
    assert.equal((await read({ 'connect-timeout-ms': '1' })).timeoutMs, 1)
    assert.equal((await read({ 'connect-timeout-ms': '9999999999' })).timeoutMs, LIMITS.maxTimeoutMs)
  },

  'versions are ranges, names are short, the protocol is 1': async () => {
    await rejected(read({ 'shoal-version': 'latest!' }), 'invalid_argument', /shoal-version must be a semver range/)
    await rejected(
      read({ 'shoal-version': '1'.repeat(201) }),
      'invalid_argument',
      /version must be a text of at most 200 characters, got \d+/,
    )
    await rejected(
      read({ 'shoal-group': 'g'.repeat(201) }),
      'invalid_argument',
      /group must be a text of at most 200/,
    )
    await rejected(read({}, 'm'.repeat(201)), 'invalid_argument', /method must be a text of at most 200/)
    await rejected(
      read({ 'connect-protocol-version': '2' }),
      'invalid_argument',
      /connect-protocol-version must be 1/,
    )
    assert.equal((await read({ 'connect-protocol-version': '1' })).version, '')
  },

  'credentials and what proxies add are no metadata': async () => {
    const secrets = {
      authorization: 'Bearer x',
      cookie: 'a=b',
      'proxy-authorization': 'Basic x',
      'x-api-key': 'k',
      'x-auth-token': 't',
    }
    const added = {
      'x-forwarded-for': '1.2.3.4',
      'x-forwarded-host': 'h',
      'x-real-ip': '1.2.3.4',
      'x-csrf-token': 't',
    }
    const other = { accept: '*/*', 'user-agent': 'u', 'shoal-version': '1.x', 'shoal-other': 'o' }
    const { metadata } = await read({ ...secrets, ...added, ...other, 'x-mine': 'yes', 'X-Other': 'too' })
    assert.deepEqual(metadata, { 'x-mine': 'yes', 'x-other': 'too' })
    // What is for whoever routes the call, and nothing else that begins like it.
    const routing = { 'shoal-hash-key': 'a', 'shoal-balancer': 'random' }
    assert.deepEqual((await read({ ...routing, 'shoal-attempts': '9', 'shoal-worker': 'w' })).metadata, routing)
  },
}
