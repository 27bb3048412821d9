import { assert } from 'chai'
import { CONTENT_TYPES } from '../../../shared/rpc/http.ts'
import { fetchTransport } from '../../../shared/rpc/transports/fetch.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'
import { assertRefused } from '../models/refusal.ts'
import { countedSignal, echo, rejected, requestOf } from './harness.ts'
import { served } from './http_messages.ts'

/** The transport over fetch. */
export const transportCases: Suite['cases'] = {
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
    for (const [value, got] of [['a\r\nx-b: c', 'U\\+000D at 1'], ['\u0000', 'U\\+0000 at 0']]) {
      await rejected(
        transport().send(requestOf(1, { metadata: { 'x-a': value ?? '' } })),
        'invalid_argument',
        new RegExp(`the header "x-a" must have a name and a value that HTTP carries, got ${got}$`),
      )
    }
    // Where a secret goes wrong is said, and nothing else of it.
    await rejected(
      transport({ headers: { authorization: 'Bearer a\nb' } }).send(requestOf(1)),
      'invalid_argument',
      /^Cannot call test.Any: the header "authorization" must have a name and a value that HTTP carries, got U\+000A at 8$/,
    )
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
}
