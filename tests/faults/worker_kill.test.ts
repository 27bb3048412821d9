import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type LocalRedis, startRedisServer } from '../../infra/local_redis.ts'
import { eventually } from '../conformance/expectations.ts'
import { ask } from '../conformance/gateway_http.ts'
import { metricAt } from '../conformance/gateway_metrics.ts'
import { callAll, startPool } from './gateway_pool.ts'
import { report } from './figures.ts'
import { RegistryScene } from './registry_scene.ts'
import { Who } from './who.ts'

const POOL_CALLS = { calls: 120, callers: 12 }
/** Of each kind, at once. */
const CALLS = 24
/** So long that all are begun, and seen to be, before the first ends. */
const TAKES_MS = 4_000

let redis: LocalRedis

beforeEach(async () => void (redis = await startRedisServer()))
afterEach(() => redis.close())

/** Calls demo.Who, whatever comes of it. @returns the HTTP status and the code of its error */
async function call(url: string, method: 'look' | 'change', input: { ms: number; call?: number }) {
  const headers = { 'connect-timeout-ms': '20000', ...(method === 'look' && { 'shoal-idempotent': '1' }) }
  const { status, json } = await ask(url, 'POST', `/rpc/${Who.name}/${method}`, { json: input, headers })
  return { status, code: String(json?.code ?? 'ok'), by: String(json?.id) }
}

describe('what works on calls is killed', () => {
  it('idempotent calls go elsewhere, others are unavailable, and no call is lost', async () => {
    const ids = ['a', 'b', 'c', 'd']
    await using scene = await RegistryScene.open(
      { REDIS_URL: redis.url },
      ids.slice(1).map((id) => ({ id, redis: { url: redis.url } })),
    )
    const doomed = await scene.start({ id: 'a', redis: { url: redis.url } })
    // Each has answered as slowly as it will: whom nothing is known of is not given many calls.
    const known = new Set<string>()
    await eventually(async () => {
      for (const { by } of await Promise.all(ids.map(() => call(scene.url, 'look', { ms: 300 })))) known.add(by)
      return ids.every((id) => known.has(id))
    })
    const each = Array.from({ length: CALLS }, (_, i) => i)
    const looks = each.map(() => call(scene.url, 'look', { ms: TAKES_MS }))
    const changes = each.map((i) => call(scene.url, 'change', { ms: TAKES_MS, call: i }))
    const changed = () => [...scene.written().matchAll(/changed (\d+)\./g)].map(([, i]) => Number(i))
    // All are being worked on, by it too.
    await eventually(async () => changed().length === CALLS && /changed/.test(doomed.running.output()))
    doomed.running.signal('SIGKILL')
    const [looked, hasChanged] = [await Promise.all(looks), await Promise.all(changes)]
    const onDoomed = [...doomed.running.output().matchAll(/changed/g)].length
    const unavailable = hasChanged.filter(({ code }) => code === 'unavailable')

    await using pool = await startPool()
    pool.join('steady')
    const killed = pool.join('killed')
    await eventually(async () => (await pool.workers()).length === 2)
    const outcome = await callAll(pool.url, POOL_CALLS, (answered) => {
      if (answered === POOL_CALLS.calls / 4) killed.signal('SIGKILL')
    })
    report('10 worker SIGKILL mid-call', 'idempotent: retried elsewhere, failed 0; others: unavailable; lost 0', {
      idempotentCalls: looked.length,
      failedIdempotent: looked.filter(({ code }) => code !== 'ok').length,
      otherCalls: hasChanged.length,
      othersOnTheKilled: onDoomed,
      othersUnavailable: unavailable.length,
      doneTwice: changed().length - new Set(changed()).size,
      lost: [...looked, ...hasChanged].filter(({ code }) => code !== 'ok' && code !== 'unavailable').length,
      poolCalls: outcome.answered,
      poolRequeued: await metricAt(pool.url, 'shoal_pool_calls_requeued_total'),
      poolFailed: outcome.failed.length,
      poolWrong: outcome.wrong.length,
    })
    expect(looked.filter(({ code }) => code !== 'ok')).toEqual([])
    expect(onDoomed).toBeGreaterThan(0)
    expect(unavailable.length).toBe(onDoomed)
    expect(hasChanged.filter(({ code }) => code === 'ok').length).toBe(CALLS - onDoomed)
    expect(changed().sort((a, b) => a - b)).toEqual(each)
    expect(outcome).toMatchObject({ answered: POOL_CALLS.calls, failed: [], wrong: [] })
  }, 120_000)

  it('once all workers are dead, callers are told when to try again, and a new worker serves them', async () => {
    await using pool = await startPool()
    const workers = ['one', 'two'].map((name) => pool.join(name))
    await eventually(async () => (await pool.workers()).length === workers.length)
    const infer = () =>
      ask(pool.url, 'POST', '/v2/models/joined/infer', {
        json: { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 3], data: [1, 2, 3] }] },
      })
    expect((await infer()).status).toBe(200)
    for (const worker of workers) worker.signal('SIGKILL')
    const killedAtMs = performance.now()
    let answers: Awaited<ReturnType<typeof infer>>[] = []
    await eventually(async () => {
      answers = await Promise.all(Array.from({ length: 20 }, infer))
      return answers.every(({ status }) => status === 503)
    })
    const toldMs = Math.round(performance.now() - killedAtMs)
    const retryAfter = answers.map(({ headers }) => Number(headers.get('retry-after') ?? NaN))
    const ready = (await ask(pool.url, 'GET', '/readyz')).status
    pool.join('three')
    const joinedAtMs = performance.now()
    await eventually(async () => (await infer()).status === 200)
    report('13 all workers die', '503 with Retry-After; served again when a worker comes', {
      calls: answers.length,
      refused503: answers.filter(({ status }) => status === 503).length,
      withRetryAfter: retryAfter.filter((seconds) => seconds >= 1).length,
      retryAfterSeconds: Math.max(...retryAfter),
      gatewayReady: ready === 200,
      toldAfterMs: toldMs,
      servedAgainAfterMs: Math.round(performance.now() - joinedAtMs),
    })
    expect(retryAfter.every((seconds) => Number.isInteger(seconds) && seconds >= 1)).toBe(true)
    expect(ready).toBe(200)
  }, 120_000)
})
