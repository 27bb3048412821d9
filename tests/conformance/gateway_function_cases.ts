import { afterAll, beforeAll, expect, it } from 'vitest'
import { clientOver } from '../../shared/rpc/client.ts'
import type { HttpCodec } from '../../shared/rpc/http.ts'
import { fetchTransport } from '../../shared/rpc/transports/fetch.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { eventually, refusal } from './expectations.ts'
import { Probe, type ProbeFunction, reached, startProbe, type Way } from './gateway_function.ts'
import { ask } from './gateway_http.ts'
import type { Keys } from './gateway_suite.ts'

/** Calls through the gateway to a function that is Shoal's: the same over HTTP and over its socket. */
export function functionCases(at: () => string, way: Way): void {
  let probe: ProbeFunction
  const client = (codec: HttpCodec = 'msgpack') => clientOver(Probe, { transport: fetchTransport(at(), { codec }) })
  const post = (method: string, json: unknown, headers: Record<string, string> = {}) =>
    ask(at(), 'POST', `/rpc/${Probe.name}/${method}`, { json, headers })
  beforeAll(async () => {
    probe = await startProbe(at(), way)
    await reached(probe, way, () => client().echo({ text: 'sea' }))
  })
  afterAll(() => probe.running.stop())

  it('calls go the way they should', async () => {
    const before = probe.overHttp
    await Promise.all(Array.from({ length: 20 }, (_, n) => client().echo({ text: `n${n}` })))
    expect(probe.overHttp - before).toBe(way === 'http' ? 20 : 0)
  })

  it('brings messages and metadata there and back, in both codecs', async () => {
    for (const codec of ['json', 'msgpack'] as const) {
      let echoed: string | undefined
      const onMetadata = (metadata: Readonly<Record<string, string>>) => echoed = metadata['x-echo']
      expect(await client(codec).echo({ text: 'sea 🐟' }, { onMetadata })).toEqual({ text: 'sea 🐟' })
      expect(echoed).toBe('yes')
    }
    const { status, headers, json } = await post('echo', { text: 'sea' })
    expect([status, json, headers.get('content-type'), headers.get('shoal-attempts')])
      .toEqual([200, { text: 'sea' }, 'application/json', '1'])
    const { x } = await client().double({ x: Tensor.from('float32', [3], [1, 2.5, -4]) })
    expect([x.shape, [...x.data as Float32Array]]).toEqual([[3], [2, 5, -8]])
  })

  it('answers each of many calls at once with its own', async () => {
    const texts = Array.from({ length: 300 }, (_, n) => `n${n}`)
    const answers = await Promise.all(texts.map((text) => client().echo({ text })))
    expect(answers.map(({ text }) => text)).toEqual(texts)
  })

  it('brings messages of any size, both ways', async () => {
    for (const bytes of [100_000, 1 << 20, 5 << 20]) {
      const [long, short] = await Promise.all([
        client().echo({ text: 'x'.repeat(bytes) }),
        client().echo({ text: 'short' }),
      ])
      expect([long.text.length, short.text]).toEqual([bytes, 'short'])
    }
  })

  it('hands on trace, deadline and the caller’s own headers, but no credentials', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const { json } = await post('context', {}, {
      traceparent,
      'connect-timeout-ms': '5000',
      'x-mine': 'kept',
      'x-forwarded-for': '10.0.0.1',
      authorization: 'Bearer secret',
      'shoal-caller': 'someone else',
    })
    expect(json).toMatchObject({ traceparent, metadata: { 'x-mine': 'kept' } })
    expect(Object.keys(json.metadata)).toEqual(['x-mine'])
    expect(json.timeoutMs).toBeGreaterThan(0)
    expect(json.timeoutMs).toBeLessThanOrEqual(5000)
    expect(json.caller).toBeUndefined()
  })

  it('hands on errors: code, message, details, and when to come again', async () => {
    const { code, message, details, retryAfterMs } = await refusal(client().refuse({ code: 'aborted' }))
    expect({ code, message, details, retryAfterMs })
      .toEqual({ code: 'aborted', message: 'Cannot do that', details: [{ at: 1 }], retryAfterMs: 7_000 })
    const bad = await post('echo', { text: 1 })
    expect([bad.status, bad.json.code]).toEqual([400, 'invalid_argument'])
    expect(bad.json.message).toContain('at "text"')
    const none = await post('nothing', {})
    expect([none.status, none.json.code]).toEqual([501, 'unimplemented'])
    const kind = await post('count', { to: 1 })
    expect([kind.status, kind.json.code]).toEqual([400, 'invalid_argument'])
  })

  it('stops the handler when its caller hangs up', async () => {
    const gone = new AbortController()
    const path = `/rpc/${Probe.name}/wait`
    const call = ask(at(), 'POST', path, { json: { name: 'hung up' }, signal: gone.signal }).catch(({ name }) => name)
    await eventually(() => Promise.resolve(probe.waiting.has('hung up')))
    gone.abort()
    expect(await call).toBe('AbortError')
    await eventually(() => Promise.resolve(probe.stopped.includes('hung up')))
  })

  it('ends a call in time, here and there', async () => {
    // So long that it has come to the function by then.
    const late = await refusal(client().wait({ name: 'late' }, { timeoutMs: 1_500 }))
    expect(late.code).toBe('deadline_exceeded')
    await eventually(() => Promise.resolve(probe.stopped.includes('late')))
  })

  it('keeps to the function’s limits', async () => {
    const one = client().alone({ name: 'one' })
    await eventually(() => Promise.resolve(probe.waiting.has('one')))
    const shed = await refusal(client().alone({ name: 'two' }))
    expect(shed.code).toBe('resource_exhausted')
    probe.waiting.get('one')?.letGo()
    expect(await one).toEqual({ text: 'one' })
  })

  it('streams', async () => {
    const items: number[] = []
    for await (const { n } of client().count({ to: 50 })) items.push(n)
    expect(items).toEqual([...Array(50).keys()])
  })

  it('answers what is running when the function is asked to end', async () => {
    // Another one, beside which it ends.
    const leaving = await startProbe(at(), way)
    await eventually(async () => {
      await client().echo({ text: 'sea' })
      const { json } = await ask(at(), 'GET', `/registry/services/${Probe.name}`)
      return json.instances.length === 2 && (way === 'http' || leaving.app.sockets.size > 0)
    })
    const calls: Promise<{ text: string }>[] = []
    const names = () => [...leaving.waiting.keys()]
    await eventually(() => {
      const name = `c${calls.length}`
      calls.push(client().wait({ name }, { timeoutMs: 20_000 }))
      return Promise.resolve(names().length > 0)
    })
    let isOver = false
    const end = leaving.running.stop().then(() => isOver = true)
    while (!isOver) {
      expect(await client().echo({ text: 'sea' })).toEqual({ text: 'sea' })
      for (const { waiting } of [leaving, probe]) for (const { letGo } of waiting.values()) letGo()
    }
    await end
    const answers = await Promise.all(calls)
    expect(answers.map(({ text }) => text)).toEqual(calls.map((_, n) => `c${n}`))
  })
}

/** Who the function is told that calls it, where keys are needed. */
export function functionKeyCases(at: () => string, keys: () => Keys, way: Way): void {
  it('is told who calls by the gateway, and by nobody else', async () => {
    const key = keys().service.authorization.replace('Bearer ', '')
    const probe = await startProbe(at(), way, { SHOAL_KEY: key })
    try {
      const headers = { ...keys().call, 'shoal-caller': 'someone else' }
      const context = () => ask(at(), 'POST', `/rpc/${Probe.name}/context`, { json: {}, headers })
      await reached(probe, way, async () => {
        if ((await context()).status !== 200) throw new Error('not yet')
      })
      const before = probe.overHttp
      const { json } = await context()
      expect(json.caller).toMatch(/^\w{4,}/)
      expect(json.caller).not.toBe('someone else')
      expect(probe.overHttp - before).toBe(way === 'http' ? 1 : 0)
    } finally {
      await probe.running.stop()
    }
  })
}
