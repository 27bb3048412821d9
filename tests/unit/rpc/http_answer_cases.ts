import { assert } from 'chai'
import { LIMITS } from '../../../shared/base/limits.ts'
import {
  answerOf,
  answerOfError,
  CONTENT_TYPES,
  readHttpError,
  readHttpResponse,
  toResponse,
} from '../../../shared/rpc/http.ts'
import { type ErrorCode, RpcError } from '../../../shared/wire/errors.ts'
import { encodePayload } from '../../../shared/wire/payload.ts'
import type { Suite } from '../../suite.ts'
import { rejected, requestOf, unaryOf } from './harness.ts'
import { served, zeros } from './http_messages.ts'

function errorResponse(thrown: unknown): Response {
  return toResponse(answerOfError(thrown))
}

function responseOf(...args: Parameters<typeof answerOf>): Response {
  return toResponse(answerOf(...args))
}

/** Answers and errors, as they are written and read. */
export const answerCases: Suite['cases'] = {
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
}
