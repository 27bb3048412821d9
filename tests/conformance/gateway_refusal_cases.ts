import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../shared/base/limits.ts'
import { eventually } from './expectations.ts'
import { ask, askRaw } from './gateway_http.ts'
import { metricAt } from './gateway_metrics.ts'

/** Requests that no client means well. Most are sent as raw text: `fetch` would mend them. */
export function refusalCases(at: () => string): void {
  const alive = async () => expect((await ask(at(), 'GET', '/livez')).status).toBe(200)

  it('serves loopback names alone, so that no page can rebind its own to this address', async () => {
    const { port } = new URL(at())
    for (
      const host of ['evil.example', `evil.example:${port}`, '127.0.0.1.evil.example', 'localhost.', '10.0.0.1', '']
    ) {
      for (const path of ['/workers', '/livez', '/v2/models/x', '/models', '/']) {
        const { status } = await askRaw(at(), [`GET ${path} HTTP/1.1`, `Host: ${host}`])
        expect([host, path, status]).toSatisfy(([, , status]) => status === 403 || status === 400)
      }
      const call = ['POST /rpc/shoal.Inference/infer HTTP/1.1', 'Content-Type: application/json', 'Content-Length: 2']
      expect([400, 403]).toContain((await askRaw(at(), [...call, `Host: ${host}`], '{}')).status)
    }
    for (const host of ['localhost', `LOCALHOST:${port}`, '127.0.0.1', `[::1]:${port}`]) {
      expect([host, (await askRaw(at(), ['GET /workers HTTP/1.1', `Host: ${host}`])).status]).toEqual([host, 200])
    }
    // The address of the request line counts no more than the Host header.
    expect((await askRaw(at(), ['GET http://127.0.0.1/workers HTTP/1.1', 'Host: evil.example'])).status)
      .toBeGreaterThanOrEqual(400)
  })

  it('takes no orders from other sites’ pages', async () => {
    const record = { id: 'csrf', service: 'demo.Csrf', version: '1.0.0', url: 'https://evil.example', incarnation: '1' }
    const body = JSON.stringify(record)
    for (const origin of ['https://evil.example', 'http://127.0.0.1:1', 'null']) {
      // What a page may send without asking first: a simple request.
      const headers = { origin, 'content-type': 'text/plain' }
      expect((await ask(at(), 'POST', '/registry/instances', { body, headers })).status).toBe(403)
      expect((await ask(at(), 'POST', '/workers/enrol', { headers })).status).toBe(403)
      expect((await ask(at(), 'POST', '/v2/models/x/infer', { body: '{"inputs":[]}', headers })).status).toBe(403)
      expect((await ask(at(), 'POST', '/rpc/shoal.Inference/infer', { json: {}, headers: { origin } })).status).toBe(
        403,
      )
    }
    expect((await ask(at(), 'GET', '/registry/services/demo.Csrf')).status).toBe(404)
    expect((await ask(at(), 'POST', '/workers/enrol', { headers: { origin: at() } })).status).toBe(200)
  })

  it('takes no secret from a URL, nor repeats it', async () => {
    for (const name of ['token', 'key', 'api_key', 'access_token', 'authorization', 'TOKEN', 'Api_Key', 'to%6Ben']) {
      for (const path of ['/workers', '/v2/models/x', '/rpc/demo.Echo/echo', '/livez', '/relay/connect']) {
        const { status, text } = await ask(at(), 'GET', `${path}?a=1&${name}=s3cret`)
        expect([path, name, status]).toEqual([path, name, 400])
        expect(text).not.toContain('s3cret')
        expect(text).toMatch(/Authorization header/)
      }
      const call = await ask(at(), 'POST', `/rpc/shoal.Inference/infer?${name}=s3cret`, { json: {} })
      expect([name, call.status]).toEqual([name, 400])
    }
  })

  describe('bodies', () => {
    const PATH = '/registry/instances'
    const tooLong = LIMITS.maxControlBytes + 1

    it('are refused when longer than the route takes, whether they say so or not', async () => {
      const declared = await ask(at(), 'POST', PATH, { body: new Uint8Array(tooLong) })
      expect([declared.status, declared.json.detail]).toEqual([
        413,
        expect.stringContaining(`${LIMITS.maxControlBytes}`),
      ])
      const streamed = await ask(at(), 'POST', PATH, { body: chunks(tooLong) })
      expect([streamed.status, streamed.json.detail]).toEqual([
        413,
        expect.stringContaining(`${LIMITS.maxControlBytes}`),
      ])
      const fits = await ask(at(), 'POST', PATH, { body: chunks(tooLong - 1) })
      expect(fits.status).toBe(400)
      for (
        const [path, type, limit] of [
          ['/rpc/shoal.Inference/infer', 'application/json', LIMITS.maxJsonBytes],
          ['/rpc/shoal.Inference/infer', 'application/msgpack', LIMITS.maxMessageBytes],
          ['/v2/models/x/infer', 'application/json', LIMITS.maxJsonBytes],
        ] as const
      ) {
        const head = [`POST ${path} HTTP/1.1`, `Content-Type: ${type}`, `Content-Length: ${limit + 1}`]
        expect([path, (await askRaw(at(), head)).status]).toEqual([path, 413])
      }
    })

    it('are refused when very long, and the gateway lives on', async () => {
      const headers = { 'content-type': 'application/msgpack' }
      for (const body of [new Uint8Array(LIMITS.maxMessageBytes + 1), chunks(LIMITS.maxMessageBytes + 1)]) {
        // A server may hang up on a body that it does not want before the client has read why.
        const refused = await ask(at(), 'POST', '/rpc/shoal.Inference/infer', { body, headers }).catch(() => undefined)
        if (refused) expect([refused.status, refused.json.code]).toEqual([413, 'resource_exhausted'])
        await alive()
      }
    })

    it('are refused compressed: what is small might be large', async () => {
      for (const encoding of ['gzip', 'br', 'deflate', 'gzip, gzip']) {
        const headers = { 'content-encoding': encoding }
        const { status } = await ask(at(), 'POST', PATH, { body: Uint8Array.of(31, 139, 8), headers })
        expect([encoding, status]).toEqual([encoding, 415])
      }
    })

    it('are refused when two headers disagree on their length', async () => {
      const lengths = [
        ['Content-Length: 5', 'Transfer-Encoding: chunked'],
        ['Content-Length: 5', 'Content-Length: 6'],
        ['Content-Length: +5'],
        ['Content-Length: 5x'],
        ['Transfer-Encoding: chunked, identity'],
      ]
      for (const headers of lengths) {
        const { status } = await askRaw(at(), [`POST ${PATH} HTTP/1.1`, ...headers], '0\r\n\r\n')
        expect([headers, status]).toEqual([headers, 400])
      }
      await alive()
    })
  })

  describe('headers', () => {
    it('are refused when very long', async () => {
      const { status } = await askRaw(at(), ['GET /livez HTTP/1.1', `X-Long: ${'a'.repeat(512 * 1024)}`])
      expect([400, 431]).toContain(status)
      await alive()
    })

    it('cannot be split by line ends within them', async () => {
      for (const header of ['X-A: a\rX-B: b', 'X-A: a\0b', 'X-A\r: b', ' X-A: b', 'X A: b']) {
        const { status } = await askRaw(at(), ['GET /livez HTTP/1.1', header])
        expect([header, status]).toEqual([header, 400])
      }
      for (
        const path of [
          '/workers%0d%0aset-cookie:%20a=b',
          '/blobs/%0d%0aset-cookie:%20a=b',
          '/v2/models/%0d%0aset-cookie:%20a=b',
        ]
      ) {
        const { status, headers } = await ask(at(), 'GET', path)
        expect([path, status >= 400 && status < 500, headers.get('set-cookie')]).toEqual([path, true, null])
      }
      await alive()
    })
  })

  it('answers a malformed escape in a path with 4xx', async () => {
    for (
      const path of [
        '/%',
        '/%ff',
        '/assets/%',
        '/assets/%ff.js',
        '/models/%/versions/1',
        '/blobs/%e0%a4',
        '/v2/models/%',
      ]
    ) {
      for (const method of ['GET', 'PUT']) {
        const { status } = await askRaw(at(), [`${method} ${path} HTTP/1.1`, 'Content-Length: 0'])
        expect([method, path, status >= 400 && status < 500]).toEqual([method, path, true])
      }
    }
  })

  it('serves no file but its pages’ own', async () => {
    for (
      const path of [
        '/assets/../../package.json',
        '/assets/..%2f..%2fpackage.json',
        '/assets/%2e%2e/%2e%2e/package.json',
        '/assets/..%5c..%5cpackage.json',
        '/assets/%252e%252e%252f%252e%252e%252fpackage.json',
        '/assets//etc/passwd',
        '/assets/%2fetc%2fpasswd',
        '/assets/',
        '/assets/.',
        '/assets/a%00.js',
      ]
    ) {
      expect([path, (await askRaw(at(), [`GET ${path} HTTP/1.1`])).status]).toEqual([path, 404])
    }
  })
}

export function brokenRequestCases(at: () => string): void {
  it('counts a body that breaks off as its caller’s doing, not as a failure', async () => {
    const counted = (code: string, face: string) =>
      metricAt(at(), `rpc_server_call_duration_seconds_count{code="${code}",face="${face}"}`)
    for (const [path, face] of [['/rpc/shoal.Inference/infer', 'rpc'], ['/v2/models/x/infer', 'v2']] as const) {
      const [canceled, internal] = [await counted('canceled', face), await counted('internal', face)]
      const { hostname, port, host } = new URL(at())
      const socket = connect(Number(port), hostname)
      const head = [`POST ${path} HTTP/1.1`, `Host: ${host}`, 'Content-Type: application/json', 'Content-Length: 9']
      socket.write(`${head.join('\r\n')}\r\n\r\n{"a"`)
      await once(socket, 'ready')
      await ask(at(), 'GET', '/livez')
      socket.resetAndDestroy()
      await eventually(async () => await counted('canceled', face) === canceled + 1)
      expect(await counted('internal', face)).toBe(internal)
    }
  })
}

/** A body whose length nobody announces. */
function chunks(length: number): ReadableStream<Uint8Array> {
  let left = length
  return new ReadableStream({
    pull(controller) {
      const size = Math.min(left, 64 * 1024)
      if (size === 0) return controller.close()
      left -= size
      controller.enqueue(new Uint8Array(size))
    },
  })
}
