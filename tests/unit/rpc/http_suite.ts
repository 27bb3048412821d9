import { assert } from 'chai'
import { systemClock } from '../../../shared/base/clock.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import {
  answerOf,
  answerOfError,
  CONTENT_TYPES,
  type HttpMessage,
  httpStatusOf,
  readHttpError,
  readHttpRequest,
  readHttpResponse,
  toResponse,
} from '../../../shared/rpc/http.ts'
import { answerHttp } from '../../../shared/rpc/http_server.ts'
import type { RpcRequest, Send } from '../../../shared/rpc/send.ts'
import { createServer, implement } from '../../../shared/rpc/server.ts'
import { type FetchOptions, fetchTransport } from '../../../shared/rpc/transports/fetch.ts'
import { type ErrorCode, RpcError } from '../../../shared/wire/errors.ts'
import { decodePayload, encodePayload } from '../../../shared/wire/payload.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'
import { countedSignal, echo, rejected, requestOf, Sums, unaryOf, valueOf } from './harness.ts'

/** A server behind HTTP, and what it saw. */
function served(send: Send) {
  const seen: { requests: Request[]; calls: RpcRequest[] } = { requests: [], calls: [] }
  const fetch = (request: Request): Promise<Response> => {
    seen.requests.push(request.clone())
    const [, , service = '', method = ''] = new URL(request.url).pathname.split('/').map(decodeURIComponent)
    const noting: Send = (call) => {
      seen.calls.push(call)
      return send(call)
    }
    return answerHttp(noting, request, service, method, { clock: systemClock }).then(toResponse)
  }
  const transport = (options: FetchOptions = {}) => fetchTransport('http://gateway', { fetch, ...options })
  return { fetch, seen, transport }
}

const sumsServer = createServer([
  implement(Sums, {
    add: ({ a, b }) => ({ sum: a + b }),
    scale: ({ x }) => ({ y: x }),
    async *count() {},
  }),
])

export const httpSuite: Suite = {
  name: 'HTTP',
  cases: {
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
        /version must be a text of at most 200/,
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

    'errors have their code, status and particulars': async () => {
      const statuses: [ErrorCode, number][] = [
        ['invalid_argument', 400],
        ['unauthenticated', 401],
        ['permission_denied', 403],
        ['not_found', 404],
        ['aborted', 409],
        ['resource_exhausted', 429],
        ['canceled', 499],
        ['internal', 500],
        ['unimplemented', 501],
        ['unavailable', 503],
        ['deadline_exceeded', 504],
      ]
      for (const [code, status] of statuses) {
        const sent = new RpcError(code, `Cannot ${code}`, {
          details: [{ at: 1 }],
          retryAfterMs: 1200,
          neverSent: true,
          cause: new Error('secret'),
        })
        const response = errorResponse(sent)
        assert.equal(response.status, status)
        assert.equal(response.headers.get('content-type'), 'application/json')
        assert.equal(response.headers.get('retry-after'), '2')
        assert.equal(response.headers.get('shoal-never-sent'), '1')
        assert.equal(response.headers.has('www-authenticate'), code === 'unauthenticated')
        assert.notInclude(await response.clone().text(), 'secret')
        const received = await readHttpError(response)
        assert.deepEqual([received.code, received.message, received.details], [code, `Cannot ${code}`, [{ at: 1 }]])
        assert.deepEqual([received.retryAfterMs, received.neverSent], [2000, true])
      }
      const bare = errorResponse(new Error('password=secret'))
      assert.equal(bare.status, 500)
      assert.deepEqual([...bare.headers.keys()], ['content-type'])
      assert.deepEqual(await bare.json(), {
        code: 'internal',
        message: 'Cannot finish the call: the server failed unexpectedly',
      })
    },

    'details have the shape that Connect’s clients take': async () => {
      const details = [
        { path: ['a'] },
        'text',
        null,
        { type: 'google.rpc.RetryInfo', value: 'CgIIAQ' },
        { n: 1n },
        new Map(),
      ]
      const json = await errorResponse(new RpcError('aborted', 'm', { details })).json() as { details: unknown[] }
      assert.deepEqual(json.details, [
        { type: 'shoal.v1.Detail', value: '', debug: { path: ['a'] } },
        { type: 'shoal.v1.Detail', value: '', debug: 'text' },
        { type: 'shoal.v1.Detail', value: '', debug: null },
        { type: 'google.rpc.RetryInfo', value: 'CgIIAQ' },
      ])
      const many = await errorResponse(
        new RpcError('aborted', 'm'.repeat(10_000), { details: new Array(100).fill({ a: 1 }) }),
      ).json() as {
        details: unknown[]
        message: string
      }
      assert.deepEqual([many.details.length, many.message.length], [LIMITS.maxErrorDetails, LIMITS.maxErrorLength])
    },

    'an error from elsewhere cannot choose its status': async () => {
      for (const status of [200, 204, 301, 99, 1000, 404, '413', null, {}]) {
        const response = errorResponse(new RpcError('aborted', 'm', { details: [{ status }] }))
        assert.equal(response.status, 409)
      }
      const own = errorResponse(new RpcError('resource_exhausted', 'm', { details: [{ status: 413 }] }))
      assert.equal(own.status, 413)
      assert.deepEqual(await own.json(), { code: 'resource_exhausted', message: 'm' })
    },

    'answers of proxies and crashed servers are read by their status': async () => {
      const pages: [number, ErrorCode][] = [
        [400, 'internal'],
        [401, 'unauthenticated'],
        [403, 'permission_denied'],
        [404, 'unimplemented'],
        [429, 'unavailable'],
        [500, 'unknown'],
        [502, 'unavailable'],
        [503, 'unavailable'],
        [504, 'unavailable'],
      ]
      const bodies = [
        '<h1>nginx</h1>',
        '',
        '{"error":"x"}',
        '[]',
        'null',
        '{"code":7}',
        '{',
        '"text"',
        '\ufffd'.repeat(100_000),
      ]
      for (const [status, code] of pages) {
        for (const body of bodies) {
          const error = await readHttpError(new Response(body, { status, headers: { 'retry-after': '3' } }))
          assert.deepEqual([error.code, error.retryAfterMs, error.neverSent, error.details], [code, 3000, false, []])
          assert.match(error.message, new RegExp(`the server answered ${status}`))
        }
        // Connect: an unknown code is what the status says.
        const odd = await readHttpError(new Response('{"code":"odd","message":"m","details":7}', { status }))
        assert.deepEqual([odd.code, odd.message, odd.details], [code, 'm', []])
      }
      for (const retryAfter of ['Wed, 21 Oct 2026 07:28:00 GMT', '-1', '1.5', '12345678']) {
        assert.isUndefined(
          (await readHttpError(new Response('', { status: 503, headers: { 'retry-after': retryAfter } }))).retryAfterMs,
        )
      }
    },

    'an answer of another kind is unknown, one too long is refused': async () => {
      const page = new Response('<h1>log in</h1>', { headers: { 'content-type': 'text/html' } })
      await rejected(readHttpResponse(page), 'unknown', /content-type must be JSON or msgpack, got text\/html/)
      const tooLong = LIMITS.maxMessageBytes + 1
      const type = { 'content-type': CONTENT_TYPES.msgpack }
      const declared = new Response('x', { headers: { ...type, 'content-length': String(tooLong) } })
      await rejected(readHttpResponse(declared), 'internal', /it may have at most 33554432 bytes/)
      const [pulled, body] = zeros(tooLong + 5 * LIMITS.maxFrameBytes)
      await rejected(readHttpResponse(new Response(body, { headers: type })), 'internal', /at most 33554432 bytes/)
      assert.isAtMost(pulled(), tooLong + 2 * LIMITS.maxFrameBytes)
      // Unpacked it may be longer than it says.
      const [unpacked, packed] = zeros(2 * tooLong)
      const bomb = new Response(packed, { headers: { ...type, 'content-length': '100', 'content-encoding': 'gzip' } })
      await rejected(readHttpResponse(bomb), 'internal')
      assert.isAtMost(unpacked(), tooLong + 2 * LIMITS.maxFrameBytes)
    },

    'metadata of an answer comes back, other headers do not': async () => {
      const metadata = { 'x-a': 'b', 'shoal-worker': 'w', 'server-timing': 'run;dur=1' }
      const response = responseOf({ kind: 'unary', metadata, payload: encodePayload(1, 'json') }, 'json')
      const answer = await readHttpResponse(
        new Response(response.body, { headers: { ...Object.fromEntries(response.headers), etag: 'e', via: 'v' } }),
      )
      assert.deepEqual(answer.metadata, metadata)
    },

    'an answer that cannot be translated is the server’s fault': async () => {
      const { transport } = served(() =>
        Promise.resolve({
          kind: 'unary',
          metadata: {},
          payload: { codec: 'json', body: new TextEncoder().encode('{') },
        })
      )
      await rejected(transport().send(requestOf(1)), 'internal', /^Cannot send the answer/)
      const { transport: nan } = served(() => Promise.resolve(unaryOf({ n: NaN })))
      await rejected(nan({ codec: 'json' }).send(requestOf(1)), 'internal', /Cannot send the answer: .*NaN at "n"/)
    },

    'an error goes through HTTP as it was thrown': async () => {
      const { transport } = served(() =>
        Promise.reject(new RpcError('not_found', 'Cannot find it', { details: [{ id: 7 }] }))
      )
      const error = await rejected(transport().send(requestOf(1)), 'not_found', /^Cannot find it$/)
      assert.deepEqual(error.details, [{ id: 7 }])
    },

    'redirects are not followed': async () => {
      for (const status of [301, 302, 303, 307, 308]) {
        const redirect = new Response(null, { status, headers: { location: 'http://169.254.169.254/' } })
        await rejected(
          fetchTransport('http://g', { fetch: () => Promise.resolve(redirect) }).send(requestOf(1)),
          'unavailable',
          /a redirect, which is not followed/,
        )
      }
      // What browsers show of one.
      const opaque = Object.defineProperty(Response.error(), 'type', { value: 'opaqueredirect' })
      await rejected(
        fetchTransport('http://g', { fetch: () => Promise.resolve(opaque) }).send(requestOf(1)),
        'unavailable',
        /a redirect/,
      )
      let mode = ''
      const { fetch } = served(echo)
      await fetchTransport('http://g', {
        fetch: (request) => {
          mode = request.redirect
          return fetch(request)
        },
      }).send(requestOf(1))
      assert.equal(mode, 'manual')
    },

    'what fails on the way is unavailable, and surely not begun where nobody listened': async () => {
      const failing = (cause: unknown) =>
        fetchTransport('http://g', { fetch: () => Promise.reject(cause) }).send(requestOf(1))
      const refused = new TypeError('fetch failed', {
        cause: Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' }),
      })
      assert.isTrue(
        (await rejected(failing(refused), 'unavailable', /Cannot reach http:\/\/g: fetch failed .*ECONNREFUSED/))
          .neverSent,
      )
      for (const cause of [new TypeError('network error'), new Error('socket hang up'), 'text', undefined]) {
        assert.isFalse((await rejected(failing(cause), 'unavailable', /^Cannot reach http:\/\/g/)).neverSent)
      }
      const broken = new Response(new ReadableStream({ pull: (controller) => controller.error(new Error('reset')) }), {
        headers: { 'content-type': CONTENT_TYPES.json },
      })
      await rejected(
        fetchTransport('http://g', { fetch: () => Promise.resolve(broken) }).send(requestOf(1)),
        'unavailable',
        /reset/,
      )
    },

    'a call that is given up rejects with why': async () => {
      const hung = fetchTransport('http://g', {
        fetch: (request) =>
          new Promise((_, reject) => request.signal.addEventListener('abort', () => reject(request.signal.reason))),
      })
      const { signal, abort } = countedSignal()
      const call = rejected(hung.send(requestOf(1, { signal })), 'canceled')
      abort()
      await call
      const late = new AbortController()
      const timed = rejected(hung.send(requestOf(1, { signal: late.signal })), 'deadline_exceeded')
      late.abort(new RpcError('deadline_exceeded', 'Cannot finish the call: its deadline passed'))
      await timed
    },

    'a deadline passes on the server too': async () => {
      const { transport } = served(({ signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      )
      await rejected(transport().send(requestOf(1, { timeoutMs: 5 })), 'deadline_exceeded', /deadline of 5 ms passed/)
    },

    'names cannot lead a call astray': async () => {
      const { transport, seen } = served(echo)
      await transport().send(requestOf(1, { service: '../admin?x=', method: 'a/b#c' }))
      const { pathname, search, hash } = new URL(seen.requests[0]?.url ?? '')
      assert.deepEqual([pathname, search, hash], ['/rpc/..%2Fadmin%3Fx%3D/a%2Fb%23c', '', ''])
      assert.deepInclude(seen.calls[0], { service: '../admin?x=', method: 'a/b#c' })
    },

    'a header that HTTP cannot carry is the caller’s mistake': async () => {
      const { transport, seen } = served(echo)
      for (const metadata of [{ 'x-a': 'a\r\nx-b: c' }, { 'x-a': '\u0000' }]) {
        await rejected(
          transport().send(requestOf(1, { metadata })),
          'invalid_argument',
          /a header has a value that HTTP does not carry/,
        )
      }
      await rejected(transport({ headers: { authorization: 'Bearer a\nb' } }).send(requestOf(1)), 'invalid_argument')
      assert.isEmpty(seen.requests)
      for (const base of ['', 'gateway', '/rpc', '//']) {
        assertRefused(() => fetchTransport(base), /expected an absolute URL/)
      }
    },

    'a base may have a path, and slashes at its end': async () => {
      const urls: string[] = []
      const { fetch } = served(echo)
      for (const base of ['http://g', 'http://g/', 'http://g/under//']) {
        await fetchTransport(base, {
          fetch: (request) => {
            urls.push(request.url)
            return fetch(new Request('http://g/rpc/a/b', request))
          },
        }).send(requestOf(1, { service: 's', method: 'm' }))
      }
      assert.deepEqual(urls, ['http://g/rpc/s/m', 'http://g/rpc/s/m', 'http://g/under/rpc/s/m'])
    },

    'options’ headers go with every call, and the call’s own go before them': async () => {
      const { transport, seen } = served(echo)
      const headers = { authorization: 'Bearer key', 'content-type': 'text/plain', 'connect-timeout-ms': '1' }
      await transport({ headers }).send(requestOf(1, { timeoutMs: 700 }))
      assert.equal(seen.requests[0]?.headers.get('authorization'), 'Bearer key')
      assert.equal(seen.requests[0]?.headers.get('content-type'), CONTENT_TYPES.msgpack)
      assert.equal(seen.calls[0]?.timeoutMs, 700)
      assert.deepEqual(seen.calls[0]?.metadata, {})
    },
  },
}

function errorResponse(thrown: unknown): Response {
  return toResponse(answerOfError(thrown))
}

function responseOf(...args: Parameters<typeof answerOf>): Response {
  return toResponse(answerOf(...args))
}

function read(headers: Record<string, string>, method = 'm') {
  return readHttpRequest(messageOf({ 'content-type': 'application/json', ...headers }, '{"a":1}'), 'a.B', method)
}

/** A request as a server gets it: browsers would not let a page set some of these headers. */
function messageOf(headers: Record<string, string>, content: string | Uint8Array<ArrayBuffer>): HttpMessage {
  const response = new Response(content)
  return { headers: new Headers(headers), body: response.body, arrayBuffer: () => response.arrayBuffer() }
}

function streamingRequest(bytes: number, headers: Record<string, string>): [() => number, Request] {
  const [pulled, body] = zeros(bytes)
  const init = { method: 'POST', body, headers, duplex: 'half' } as RequestInit
  return [pulled, new Request('http://g/', init)]
}

/** A stream of zeros, and how many were asked of it. */
function zeros(bytes: number): [() => number, ReadableStream<Uint8Array<ArrayBuffer>>] {
  let pulled = 0
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      if (pulled >= bytes) return controller.close()
      const size = Math.min(LIMITS.maxFrameBytes, bytes - pulled)
      pulled += size
      controller.enqueue(new Uint8Array(size))
    },
  })
  return [() => pulled, stream]
}
