import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type RunningGateway, startNodeGateway } from '../../../functions/gateway/node.ts'
import { type LocalRedis, startRedisServer } from '../../../infra/local_redis.ts'
import { silentLog } from '../../../shared/base/log.ts'
import { eventually } from '../../conformance/expectations.ts'
import { ask } from '../../conformance/gateway_http.ts'
import { redisCommand } from '../../conformance/redis_command.ts'
import { temporaryFolder } from '../../fixtures/process.ts'

let redis: LocalRedis
let folder: Awaited<ReturnType<typeof temporaryFolder>>
let gateway: RunningGateway

beforeEach(async () => {
  redis = await startRedisServer()
  folder = await temporaryFolder()
  const env = { REDIS_URL: redis.url }
  gateway = await startNodeGateway({ host: '127.0.0.1', port: 0, dataDir: folder.path, env, log: silentLog })
})
afterEach(async () => {
  await gateway.close()
  await folder[Symbol.asyncDispose]()
  await redis.close()
})

const register = (id: string, more: Record<string, unknown> = {}) =>
  ask(gateway.url, 'POST', '/registry/instances', {
    json: { id, service: 'demo.Hello', version: '1.0.0', url: 'http://127.0.0.1:1', incarnation: 'life', ...more },
  })

const leave = (id: string) =>
  ask(gateway.url, 'DELETE', `/registry/instances/${id}?service=demo.Hello&incarnation=life`)

const list = (headers?: Record<string, string>) => ask(gateway.url, 'GET', '/registry/services/demo.Hello', { headers })

/** Tables as an event stream tells them. `stop` hangs up. */
async function follow(path = '/registry/services/demo.Hello/events') {
  const hangUp = new AbortController()
  const response = await fetch(gateway.url + path, { signal: hangUp.signal })
  const told: { service: string; versions: string[]; groups: string[]; instances: { id: string }[] }[] = []
  let ended = false
  const reading = (async () => {
    let text = ''
    for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += chunk
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const data = /^event: table\ndata: (.*)$/m.exec(text.slice(0, end))?.[1]
        if (data) told.push(JSON.parse(data))
        text = text.slice(end + 2)
      }
    }
  })().catch(() => {}).finally(() => ended = true)
  return {
    response,
    told,
    ids: () => told.map(({ instances }) => instances.map(({ id }) => id).join(' ')),
    isEnded: async () => ended,
    async stop() {
      hangUp.abort()
      await reading
    },
  }
}

describe('the list of services', () => {
  it('shows versions, groups, instances and the age of the table', async () => {
    await register('a')
    await register('b', { version: '2.0.0', group: 'blue' })
    expect((await list()).json).toMatchObject({
      service: 'demo.Hello',
      tableAgeMs: 0,
      versions: ['1.0.0', '2.0.0'],
      groups: ['blue', 'default'],
      instances: [{ id: 'a', ageMs: expect.any(Number) }, { id: 'b' }],
    })
    expect((await ask(gateway.url, 'GET', '/registry/services')).json).toEqual({
      services: ['demo.Hello'],
      tables: [{
        service: 'demo.Hello',
        tableAgeMs: expect.any(Number),
        versions: ['1.0.0', '2.0.0'],
        groups: ['blue', 'default'],
        instances: 2,
        suspects: 0,
      }],
    })
  })

  it('says cheaply that nothing has changed', async () => {
    await register('a')
    const etag = (await list()).headers.get('etag') ?? ''
    expect(etag).toMatch(/^"\d+"$/)
    const again = await list({ 'if-none-match': etag })
    expect([again.status, again.text, again.headers.get('etag')]).toEqual([304, '', etag])
    await register('b')
    expect((await list({ 'if-none-match': etag })).status).toBe(200)
    expect((await list({ 'if-none-match': 'W/"nonsense"' })).status).toBe(200)
  })

  it('is answered from memory while the store is away, and says how old that is', async () => {
    await register('a')
    await ask(gateway.url, 'POST', '/rpc/demo.Hello/sayHello', { json: {} })
    await redis.kill('SIGKILL')
    await eventually(async () => (await list()).json.tableAgeMs > 50)
    expect((await list()).json).toMatchObject({ versions: ['1.0.0'], instances: [{ id: 'a' }] })
    expect((await ask(gateway.url, 'GET', '/registry/services')).json).toMatchObject({ services: ['demo.Hello'] })
    const unknown = await ask(gateway.url, 'GET', '/registry/services/demo.Never')
    expect([unknown.status, unknown.json.title]).toEqual([503, 'unavailable'])
  })
})

describe('events of a service', () => {
  it('tell the table, then each change of it', async () => {
    await register('a')
    const events = await follow()
    expect(events.response.headers.get('content-type')).toContain('text/event-stream')
    await eventually(async () => events.told.length === 1)
    await register('b', { version: '1.1.0' })
    await eventually(async () => events.told.length === 2)
    await leave('a')
    await eventually(async () => events.told.length === 3)
    expect(events.ids()).toEqual(['a', 'a b', 'b'])
    expect(events.told[1]).toMatchObject({ service: 'demo.Hello', versions: ['1.0.0', '1.1.0'], groups: ['default'] })
    await events.stop()
  })

  it('end when the gateway stops, which does not wait for them', async () => {
    const events = await follow()
    await eventually(async () => events.told.length === 1)
    const stopping = gateway.close()
    await eventually(events.isEnded)
    await stopping
  })

  it('are let go when the reader hangs up', async () => {
    const events = await follow()
    await eventually(async () => events.told.length === 1)
    await events.stop()
    // The service is asked for no more: its scripts are the only ones that still run.
    const calls = async () => {
      const info = String(await redisCommand(redis.url, 'INFO', 'commandstats'))
      return Number(/cmdstat_evalsha:calls=(\d+)/.exec(info)?.[1] ?? 0)
    }
    await eventually(async () => {
      const before = await calls()
      await new Promise((resolve) => setTimeout(resolve, 1_200))
      return await calls() === before
    })
  })
})
