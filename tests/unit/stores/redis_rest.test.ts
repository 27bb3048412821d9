import { Redis } from '@upstash/redis'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type LocalRedis, startRedisServer } from '../../../infra/local_redis.ts'
import { type RedisRest, startRedisRest } from '../../../infra/redis_rest.ts'
import { ROOT } from '../../../infra/tools.ts'

let server: LocalRedis
let front: RedisRest

beforeAll(async () => {
  server = await startRedisServer()
  front = await startRedisRest({ redisUrl: server.url, token: 'secret', port: 0 })
})
afterAll(async () => {
  await front?.close()
  await server?.close()
})

async function post(path: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(front.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${front.token}`, ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  return { status: response.status, body: await response.json() as unknown }
}

const base64 = (text: string) => Buffer.from(text).toString('base64')

describe('the REST front of a local Redis', () => {
  it('serves the stock Upstash client', async () => {
    const redis = new Redis({ ...front, enableTelemetry: false })
    await redis.set('greeting', { text: 'naïve 🐟' })
    expect(await redis.get('greeting')).toEqual({ text: 'naïve 🐟' })
    expect(await redis.pipeline().incr('n').incr('n').ping().exec()).toEqual([1, 2, 'PONG'])
    expect(await redis.multi().set('x', 'OK').get('x').get('missing').exec()).toEqual(['OK', 'OK', null])
    expect(await redis.eval('return {1, ARGV[1], {KEYS[1]}}', ['k'], ['a'])).toEqual([1, 'a', ['k']])
    await expect(redis.eval('return redis.error_reply("ERR mine")', [], [])).rejects.toThrow('ERR mine')
  })

  it('answers in plain text or in base64, an OK by itself always plain', async () => {
    const encoded = { 'upstash-encoding': 'base64' }
    expect(await post('/', ['SET', 'k', 'OK'], encoded)).toEqual({ status: 200, body: { result: 'OK' } })
    expect(await post('/', ['MGET', 'k', 'nil'], encoded)).toEqual({
      status: 200,
      body: { result: [base64('OK'), null] },
    })
    expect(await post('/', ['PING'], encoded)).toEqual({ status: 200, body: { result: base64('PONG') } })
    expect(await post('/', ['PING'])).toEqual({ status: 200, body: { result: 'PONG' } })
    expect(await post('/pipeline', [['GET', 'k'], ['PING'], ['LLEN', 'none']], encoded)).toEqual({
      status: 200,
      body: [{ result: 'OK' }, { result: base64('PONG') }, { result: 0 }],
    })
  })

  it('carries bytes that are no text', async () => {
    await post('/', ['EVAL', `return redis.call('SET', KEYS[1], string.char(0, 255, 128))`, 1, 'bytes'])
    const { body } = await post('/', ['GET', 'bytes'], { 'upstash-encoding': 'base64' })
    expect(body).toEqual({ result: Buffer.from([0, 255, 128]).toString('base64') })
  })

  it('gives an error of one command in its place, and alone as 400', async () => {
    expect(await post('/', ['NOSUCH'])).toMatchObject({
      status: 400,
      body: { error: expect.stringContaining('unknown') },
    })
    expect(await post('/pipeline', [['SET', 's', 'text'], ['INCR', 's'], ['GET', 's']])).toEqual({
      status: 200,
      body: [{ result: 'OK' }, { error: expect.stringContaining('not an integer') }, { result: 'text' }],
    })
  })

  it('runs a transaction whole or not at all', async () => {
    expect(await post('/multi-exec', [['SET', 't', '1'], ['INCR', 't']])).toEqual({
      status: 200,
      body: [{ result: 'OK' }, { result: 2 }],
    })
    const aborted = await post('/multi-exec', [['SET', 't', '9'], ['NOSUCH']])
    expect(aborted).toMatchObject({ status: 400, body: { error: expect.stringContaining('EXECABORT') } })
    expect(await post('/', ['GET', 't'])).toMatchObject({ body: { result: '2' } })
  })

  it('refuses strangers', async () => {
    for (const authorization of ['', 'Bearer', 'Bearer wrong', 'Basic secret', 'bearer secret ']) {
      expect(await post('/', ['PING'], { authorization })).toEqual({ status: 401, body: { error: 'Unauthorized' } })
    }
  })

  it('refuses what is no command', async () => {
    for (const body of ['', '{', '{}', '[]', 'null', '7']) {
      expect((await post('/', body)).status, body).toBe(400)
      expect((await post('/pipeline', body)).status, body).toBe(400)
    }
    expect((await post('/pipeline', [['PING'], 'PING'])).status).toBe(400)
    expect((await post('/nowhere', ['PING'])).status).toBe(404)
    expect((await post('/', ['SET', 'big', 'x'.repeat(1 << 20)])).status).toBe(413)
  })

  it('does not start without Redis, or on a port that is taken', async () => {
    await expect(startRedisRest({ redisUrl: 'redis://127.0.0.1:1', token: 'secret', port: 0 })).rejects.toThrow(
      'ECONNREFUSED',
    )
    const taken = Number(new URL(front.url).port)
    await expect(startRedisRest({ redisUrl: server.url, token: 'secret', port: taken })).rejects.toThrow('EADDRINUSE')
  })

  it('is a program too', async () => {
    const args = ['infra/redis_rest.ts', '--redis', server.url, '--token', 'secret', '--port', '0']
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
    const exited = once(child, 'exit')
    try {
      const line = String(await new Promise((resolve) => child.stdout.once('data', resolve)))
      const url = /^redis rest ready (http:\S+)\n$/.exec(line)?.[1] ?? ''
      expect(await new Redis({ url, token: 'secret', enableTelemetry: false }).ping()).toBe('PONG')
    } finally {
      child.kill()
      await exited
    }
  })

  it('answers 503 while Redis is away', async () => {
    const lone = await startRedisServer()
    const itsFront = await startRedisRest({ redisUrl: lone.url, token: 'secret', port: 0 })
    try {
      await lone.close()
      const response = await fetch(itsFront.url, {
        method: 'POST',
        headers: { authorization: 'Bearer secret' },
        body: '["PING"]',
      })
      expect(response.status).toBe(503)
      expect(await response.json()).toHaveProperty('error')
    } finally {
      await itsFront.close()
    }
  })
})
