import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type LocalRedis, startRedisServer } from '../../infra/local_redis.ts'
import { type RedisRest, startRedisRest } from '../../infra/redis_rest.ts'
import { eventually, realTime } from '../conformance/expectations.ts'
import { extent, report } from './figures.ts'
import { failures, LEASE_MS, Load, percentileMs, RegistryScene } from './registry_scene.ts'
import { RestFront } from './rest_front.ts'
import { TcpProxy } from './tcp_proxy.ts'

let redis: LocalRedis
let rest: RedisRest
let front: RestFront
let line: TcpProxy
let scene: RegistryScene

beforeAll(async () => {
  redis = await startRedisServer()
  rest = await startRedisRest({ redisUrl: redis.url, token: 'test-token', port: 0 })
  front = await RestFront.to(rest.url)
  line = await TcpProxy.to(front.port)
  const url = `http://127.0.0.1:${line.port}`
  scene = await RegistryScene.open(
    { UPSTASH_REDIS_REST_URL: url, UPSTASH_REDIS_REST_TOKEN: rest.token },
    ['a', 'b', 'c'].map((id) => ({ id, redis: { url, token: rest.token } })),
  )
})
afterEach(async () => {
  front.fault = 'none'
  line.set({})
  await eventually(async () => await scene.metric('shoal_registry_table_age_seconds') < 1.5)
})
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]()
  await line?.[Symbol.asyncDispose]()
  await front?.[Symbol.asyncDispose]()
  await rest?.close()
  await redis?.close()
})

/** Requests that reach the front in so long. */
async function requestsDuring(ms: number): Promise<number> {
  const before = front.requests
  await realTime(ms)
  return front.requests - before
}

/** So long that where it begins and ends makes little difference: 30 requests and more. */
const STRETCH_MS = extent({ quick: 8_000, thorough: 16_000 })

/** A fifth more, and three more or less, for where the two stretches begin and end. */
const mostFor = (sound: number) => 1.2 * sound + 3

const FAILED = 'shoal_registry_refresh_failures_total'

describe('Redis over REST', () => {
  it('refuses every other request: no more are sent for it than a fifth', async () => {
    const load = new Load(scene)
    // Beats and looks come by the clock, and fewer where others had the machine in one of the stretches: then once more.
    let [sound, troubled] = [0, Infinity]
    for (let tries = 0; tries < 4 && troubled > mostFor(sound); tries++) {
      front.fault = 'none'
      sound = await requestsDuring(STRETCH_MS)
      front.fault = 'refuse every other'
      troubled = await requestsDuring(STRETCH_MS)
    }
    const calls = await load.stop()
    report('5 REST 429/500 at 50 %', 'amplification at most 1.2; failed calls 0', {
      requestsSound: sound,
      requestsTroubled: troubled,
      amplification: Math.round(troubled / sound * 100) / 100,
      calls: calls.length,
      failedCalls: failures(calls).length,
    })
    expect(failures(calls)).toEqual([])
    expect(await scene.metric(FAILED)).toBeGreaterThan(0)
    expect(troubled).toBeLessThanOrEqual(mostFor(sound))
  }, 120_000)

  it('takes two seconds for an answer: no call waits for it', async () => {
    const load = new Load(scene)
    await realTime(500)
    const before = await load.during(2_500)
    const failedBefore = await scene.metric(FAILED)
    line.set({ delayMs: 1_000 })
    const during = await load.during(2 * LEASE_MS)
    const calls = await load.stop()
    report('6 REST latency 2 s', 'calls unaffected: failed calls 0, added p99 about 0', {
      forMs: 2 * LEASE_MS,
      calls: calls.length,
      failedCalls: failures(calls).length,
      p99BeforeMs: percentileMs(before, 0.99),
      p99DuringMs: percentileMs(during, 0.99),
      addedP99Ms: percentileMs(during, 0.99) - percentileMs(before, 0.99),
    })
    expect(failures(calls)).toEqual([])
    expect(await scene.metric(FAILED)).toBeGreaterThan(failedBefore)
  })

  it('cuts its JSON short, or the connection amid it: that is a failure, and nothing crashes', async () => {
    const failedBefore = await scene.metric(FAILED)
    const load = new Load(scene)
    front.fault = 'truncate'
    await realTime(LEASE_MS)
    front.fault = 'none'
    const [cutJson] = [await scene.metric(FAILED) - failedBefore]
    line.drop()
    // The head of an answer and a little of its body.
    line.set({ truncateAt: 180 })
    await realTime(LEASE_MS)
    const cutLine = await scene.metric(FAILED) - failedBefore - cutJson
    const calls = await load.stop()
    const crashes = await Promise.race([scene.gateway.ended.then(() => 1), realTime(0).then(() => 0)])
    report('7 truncated REST JSON', 'a failure, no crash; failed calls 0', {
      failedRefreshes: cutJson + cutLine,
      crashes,
      calls: calls.length,
      failedCalls: failures(calls).length,
    })
    expect([crashes, failures(calls)]).toEqual([0, []])
    expect(Math.min(cutJson, cutLine)).toBeGreaterThan(0)
  })
})
