import { createServer, type Server, type ServerResponse } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RedisCommands } from '../../../shared/stores/redis_commands.ts'
import { redisOnce } from '../../../shared/stores/redis_once.ts'
import { redisLeases } from '../../../shared/stores/redis_store.ts'
import { upstashRedis } from '../../../shared/stores/upstash_redis.ts'
import { eventually, refusal } from '../../conformance/expectations.ts'
import { instance } from './instances.ts'
import { portOf } from './port_of.ts'

describe('Redis over REST', () => {
  /** What the server does with each request: nothing yet, an answer, or nothing at all. */
  let answer: (response: ServerResponse) => void
  let requests = 0
  let server: Server
  let redis: RedisCommands

  beforeAll(async () => {
    server = createServer((request, response) => {
      requests++
      request.resume().on('end', () => answer(response))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    redis = upstashRedis({ url: `http://127.0.0.1:${portOf(server)}`, token: 'the-token', timeoutMs: 300 })
  })
  afterAll(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })

  const say = (status: number, body: string) => (response: ServerResponse) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(body)
  }

  const faults: Record<string, (response: ServerResponse) => void> = {
    '500 with an error in JSON': say(500, '{"error":"ERR internal"}'),
    '500 with HTML': say(500, '<h1>Internal Server Error</h1>'),
    '502 with nothing': say(502, ''),
    '429 with an error in JSON': say(429, '{"error":"ERR max requests limit exceeded"}'),
    '429 with text': say(429, 'Too Many Requests'),
    '401': say(401, '{"error":"Unauthorized"}'),
    'JSON cut short': say(200, '[{"result":"PO'),
    'a body cut short': (response) => {
      response.writeHead(200, { 'content-length': '100' }).write('[{"result"')
      response.destroy()
    },
    'a broken connection': (response) => response.destroy(),
    'an object for an array': say(200, '{}'),
    'null': say(200, 'null'),
    'a number': say(200, '7'),
    'too few results': say(200, '[]'),
    'too many results': say(200, '[{"result":1},{"result":1},{"result":1},{"result":1}]'),
    'a result that is null': say(200, '[null]'),
    'a result without a result': say(200, '[{}]'),
    'an answer without end': (response) => response.writeHead(200).write('[{"result":'),
    'no answer': () => {},
  }

  for (const [name, fault] of Object.entries(faults)) {
    it(`is unavailable, and tries but once, on ${name}`, async () => {
      answer = fault
      const leases = redisLeases(redis)
      const calls = [
        () => leases.renew([instance({ zone: 'hidden-zone' })]),
        () => leases.list('demo.Hello'),
        () => redisOnce(redis).claim('hidden-token', 1000),
        () => redis.take('hidden-token'),
        () => redis.ping(),
      ]
      for (const call of calls) {
        requests = 0
        const error = await refusal(call())
        // Whoever gives up may do so before its request has come.
        await eventually(async () => requests > 0)
        expect(error.code).toBe('unavailable')
        expect(error.message).toMatch(/^Cannot use the store: Redis /)
        expect(error.message).not.toMatch(/hidden|the-token/)
        expect(requests).toBe(1)
      }
    })
  }

  it('is unavailable when a script answers in a form of its own', async () => {
    const leases = redisLeases(redis)
    for (const result of ['7', '"text"', '[]', '[1,2]', '[1,2,[],7]', '["1"]', '[1,2,[3],[4]]', 'null']) {
      answer = say(200, `[{"result":${result}}]`)
      expect((await refusal(leases.list('demo.Hello'))).code, result).toBe('unavailable')
    }
    answer = say(200, '[{"result":null},{"result":"text"}]')
    expect((await refusal(leases.renew([instance()]))).code).toBe('unavailable')
  })

  it('says when no one listens', async () => {
    const nowhere = upstashRedis({ url: 'http://127.0.0.1:1', token: 'the-token' })
    const error = await refusal(nowhere.ping())
    expect(error.code).toBe('unavailable')
    expect(error.message).toContain('127.0.0.1:1 must be reachable')
  })

  it('refuses addresses and tokens that cannot work, without repeating them', () => {
    const sound = { url: 'https://redis.example', token: 'the-token' }
    for (const fields of [{ url: '' }, { url: 'redis://redis.example' }, { token: '' }, { token: 'the-token\n' }]) {
      expect(() => upstashRedis({ ...sound, ...fields })).toThrow(
        expect.objectContaining({
          code: 'invalid_argument',
          message: expect.not.stringContaining('the-token'),
        }),
      )
    }
  })

  it('is unavailable after quitting', async () => {
    const done = upstashRedis({ url: 'http://127.0.0.1:1', token: 'the-token' })
    await done.quit()
    expect((await refusal(done.ping())).message).toContain('got closed')
  })
})
