import { expect, it } from 'vitest'
import { LIMITS } from '../../shared/base/limits.ts'
import { clientOver } from '../../shared/rpc/client.ts'
import { fetchTransport } from '../../shared/rpc/transports/fetch.ts'
import { eventually } from './expectations.ts'
import { Echo, startEcho } from './gateway_echo.ts'
import { ask } from './gateway_http.ts'

export function registryCases(at: () => string): void {
  const register = (record: unknown) => ask(at(), 'POST', '/registry/instances', { json: record })
  const call = (service: string, method = 'echo', headers: Record<string, string> = {}) =>
    ask(at(), 'POST', `/rpc/${service}/${method}`, { json: { text: 'sea' }, headers })
  const leave = ({ id, service, incarnation }: Record<string, unknown>) =>
    ask(at(), 'DELETE', `/registry/instances/${id}?${new URLSearchParams({ service, incarnation } as never)}`)
  const list = (service: string) => ask(at(), 'GET', `/registry/services/${service}`)

  it('finds a registered function and calls it by name', async () => {
    await using echo = await startEcho(Echo.name)
    const registered = await register(echo.record)
    expect([registered.status, registered.json]).toEqual([201, { id: echo.record.id, ttlMs: 180_000 }])

    const plain = await call(Echo.name)
    expect([plain.status, plain.json]).toMatchObject([200, { text: 'sea', copy: echo.record.id }])
    expect(plain.headers.get('x-echo')).toBe('yes')
    expect(plain.headers.get('shoal-attempts')).toBe('1')
    const client = clientOver(Echo, { transport: fetchTransport(at(), { codec: 'json' }) })
    expect(await client.echo({ text: 'shore' })).toMatchObject({ text: 'shore', copy: echo.record.id })
    await leave(echo.record)
  })

  it('hands on trace, deadline and the caller’s own headers, but no credentials', async () => {
    await using echo = await startEcho('demo.Headers')
    await register(echo.record)
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const { json } = await call('demo.Headers', 'echo', {
      traceparent,
      'connect-timeout-ms': '5000',
      'x-mine': 'kept',
      'x-forwarded-for': '10.0.0.1',
      authorization: 'Bearer secret',
      cookie: 'session=1',
    })
    expect(json.headers).toMatchObject({ traceparent, 'x-mine': 'kept', 'content-type': 'application/json' })
    expect(Number(json.headers['connect-timeout-ms'])).toBeLessThanOrEqual(5000)
    for (const name of ['authorization', 'cookie', 'x-forwarded-for']) expect(json.headers[name]).toBeUndefined()
    // An invalid trace is replaced, not handed on.
    const other = await call('demo.Headers', 'echo', { traceparent: '00-0-0-01' })
    expect(other.json.headers.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
    await leave(echo.record)
  })

  it('hands on what a function answers, its errors too', async () => {
    await using echo = await startEcho('demo.Errors')
    await register(echo.record)
    const refused = await call('demo.Errors', 'refuse')
    expect([refused.status, refused.json]).toEqual([409, {
      code: 'already_exists',
      message: 'Cannot echo twice',
      details: [{ type: 'shoal.v1.Detail', value: '', debug: { at: 1 } }],
    }])
    const busy = await call('demo.Errors', 'busy')
    expect([busy.status, busy.headers.get('retry-after')]).toEqual([429, '7'])
    const crashed = await call('demo.Errors', 'crash')
    expect([crashed.status, crashed.json.code]).toEqual([500, 'unknown'])
    expect(crashed.text).not.toContain('<h1>')
    const unknown = await call('demo.Errors', 'nothing')
    expect([unknown.status, unknown.json.code]).toEqual([501, 'unimplemented'])
    await leave(echo.record)
  })

  it('follows no redirect', async () => {
    await using echo = await startEcho('demo.Redirect')
    await register(echo.record)
    const { status, json } = await call('demo.Redirect', 'redirect')
    expect([status, json.code]).toEqual([503, 'unavailable'])
    expect(json.message).toContain('redirect')
    await leave(echo.record)
  })

  it('calls the highest version that the caller accepts', async () => {
    await using one = await startEcho('demo.Versions', { version: '1.2.0' })
    await using later = await startEcho('demo.Versions', { version: '1.10.0' })
    await using two = await startEcho('demo.Versions', { version: '2.0.0' })
    await using blue = await startEcho('demo.Versions', { version: '1.0.0', group: 'blue' })
    const all = [one, later, two, blue]
    for (const { record } of all) await register(record)
    const wanted: [Record<string, string>, typeof one][] = [
      [{ 'shoal-version': '~1.2.0' }, one],
      [{ 'shoal-version': '^1.0.0' }, later],
      [{ 'shoal-version': '>=1.0.0' }, two],
      [{}, two],
      [{ 'shoal-group': 'blue' }, blue],
    ]
    for (const [headers, { record }] of wanted) {
      for (let i = 0; i < 4; i++) {
        expect([headers, (await call('demo.Versions', 'echo', headers)).json.copy]).toEqual([headers, record.id])
      }
    }
    const none = await call('demo.Versions', 'echo', { 'shoal-version': '^3.0.0' })
    expect([none.status, none.json.code]).toEqual([400, 'failed_precondition'])
    expect(none.json.message).toMatch(/\^3\.0\.0 .*2\.0\.0/)
    for (const { record } of all) await leave(record)
  })

  it('lists what is registered', async () => {
    await using echo = await startEcho('demo.Listed', { zone: 'north', weight: 2, ttlMs: 5000 })
    expect((await list('demo.Listed')).status).toBe(404)
    await register(echo.record)
    const { status, json } = await list('demo.Listed')
    expect(status).toBe(200)
    const { url, ...record } = echo.record
    expect(json).toMatchObject({ service: 'demo.Listed', revision: expect.any(Number) })
    expect(json.instances).toEqual([
      { ...record, group: 'default', address: { kind: 'url', url }, ageMs: expect.any(Number) },
    ])
    expect((await ask(at(), 'GET', '/registry/services')).json.services).toContain('demo.Listed')

    const { status: left, text } = await leave(echo.record)
    expect([left, text]).toEqual([204, ''])
    expect((await list('demo.Listed')).status).toBe(404)
    expect((await ask(at(), 'GET', '/registry/services')).json.services).not.toContain('demo.Listed')
  })

  it('renews a lease, and refuses one whose life is over', async () => {
    await using echo = await startEcho('demo.Lives')
    const { record } = echo
    const renew = (incarnation: string) =>
      ask(at(), 'PUT', `/registry/instances/${record.id}/lease`, { json: { ...record, incarnation } })
    await register({ ...record, incarnation: 'one' })
    expect((await renew('one')).status).toBe(200)
    expect((await register({ ...record, incarnation: 'two' })).status).toBe(201)
    // The first life was superseded by the second: it may neither renew, nor leave, nor come back.
    const refused = await renew('one')
    expect([refused.status, refused.json]).toMatchObject([409, {
      title: 'aborted',
      detail: expect.stringContaining('one'),
    }])
    expect((await register({ ...record, incarnation: 'one' })).status).toBe(409)
    await leave({ ...record, incarnation: 'one' })
    expect((await list('demo.Lives')).json.instances).toMatchObject([{ id: record.id, incarnation: 'two' }])
    await leave({ ...record, incarnation: 'two' })
    expect((await renew('two')).status).toBe(409)
    expect((await list('demo.Lives')).status).toBe(404)
  })

  it('tries another instance when one is down, and says so when all are', async () => {
    await using up = await startEcho('demo.Down')
    await using down = await startEcho('demo.Down')
    await register(up.record)
    await register(down.record)
    await down.close()
    for (let i = 0; i < 8; i++) {
      const { status, json } = await call('demo.Down', 'echo', { 'shoal-idempotent': '1' })
      expect([status, json.copy]).toEqual([200, up.record.id])
    }
    await up.close()
    const { status, json } = await call('demo.Down')
    expect([status, json.code]).toEqual([503, 'unavailable'])
    await leave(up.record)
    await leave(down.record)
    await eventually(async () => (await call('demo.Down')).status === 404)
  })

  const RECORD = {
    id: 'one',
    service: 'demo.Refused',
    version: '1.0.0',
    url: 'http://127.0.0.1:1',
    incarnation: 'life',
  }
  const REFUSED: Record<string, [more: Record<string, unknown>, message: RegExp]> = {
    'a service that is no name': [{ service: 'demo/Refused' }, /"service"/],
    'a name of Shoal’s own': [{ service: 'shoal.Training' }, /"service".*reserved/],
    'an address where clouds keep secrets': [{ url: 'http://0xa9fea9fe/latest' }, /"url".*link-local/],
    'a version that is none': [{ version: '1' }, /"version"/],
    'a URL that is none': [{ url: 'here' }, /"url"/],
    'a URL of another kind': [{ url: 'file:///etc/passwd' }, /"url"/],
    'a URL that is too long': [{ url: `http://127.0.0.1/${'a'.repeat(2000)}` }, /"url"/],
    'no incarnation': [{ incarnation: '' }, /"incarnation"/],
    'a lease for longer than an hour': [{ ttlMs: LIMITS.maxLeaseMs + 1 }, /"ttlMs"/],
    'a lease that is over at once': [{ ttlMs: 1 }, /"ttlMs"/],
    'no weight': [{ weight: 0 }, /"weight"/],
    'an address of its own making': [{ address: { kind: 'relay', name: 'x' } }, /address/],
  }
  for (const [what, [more, message]] of Object.entries(REFUSED)) {
    it(`refuses ${what} and says what is wrong`, async () => {
      const { status, headers, json } = await register({ ...RECORD, ...more })
      expect([status, json.detail]).toEqual([400, expect.stringMatching(message)])
      expect(headers.get('content-type')).toBe('application/problem+json')
      expect((await list('demo.Refused')).status).toBe(404)
    })
  }

  it('refuses a renewal for another instance, and a goodbye without a life', async () => {
    const other = await ask(at(), 'PUT', '/registry/instances/two/lease', { json: RECORD })
    expect([other.status, other.json.detail]).toEqual([400, expect.stringMatching(/must be two, got one/)])
    const goodbye = await ask(at(), 'DELETE', '/registry/instances/one?service=demo.Refused')
    expect([goodbye.status, goodbye.json.detail]).toEqual([400, expect.stringContaining('incarnation')])
  })
}
