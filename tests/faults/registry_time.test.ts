import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type LocalRedis, startRedisServer } from '../../infra/local_redis.ts'
import { isSuspect, type LeaseStore } from '../../shared/stores/lease_store.ts'
import type { RedisCommands } from '../../shared/stores/redis_commands.ts'
import { redisLeases } from '../../shared/stores/redis_store.ts'
import { tcpRedis } from '../../shared/stores/tcp_redis.ts'
import { realTime } from '../conformance/expectations.ts'
import { leapRedisClock } from '../conformance/redis_leap.ts'
import { report } from './figures.ts'
import { failures, LEASE_MS, Load, RegistryScene } from './registry_scene.ts'
import { Who } from './who.ts'

const HOUR_MS = 3_600_000

let redis: LocalRedis
let client: RedisCommands
let store: LeaseStore

beforeEach(async () => {
  redis = await startRedisServer()
  client = tcpRedis(redis.url)
  store = redisLeases(client)
})
afterEach(async () => {
  await client.quit()
  await redis.close()
})

/** Looks at the table again and again, as gateways do. @returns the most that were missing, and the most suspects */
async function watchTable(expected: number, forMs: number): Promise<{ missing: number; suspects: number }> {
  const seen = { missing: 0, suspects: 0 }
  for (const endMs = performance.now() + forMs; performance.now() < endMs; await realTime(50)) {
    const listing = await store.list(Who.name)
    const instances = 'instances' in listing ? listing.instances : []
    seen.missing = Math.max(seen.missing, expected - instances.length)
    seen.suspects = Math.max(seen.suspects, instances.filter(isSuspect).length)
  }
  return seen
}

describe('time', () => {
  it('leaps forward in Redis: eviction freezes until all have beaten again', async () => {
    const some = ['a', 'b', 'c'].map((id) => ({ id, redis: { url: redis.url } }))
    await using scene = await RegistryScene.open({ REDIS_URL: redis.url }, some)
    const load = new Load(scene)
    await realTime(1_000)
    await leapRedisClock(client, 'shoal:leases', HOUR_MS)
    const { missing, suspects } = await watchTable(3, LEASE_MS)
    const calls = await load.stop()
    report('8 Redis clock +1 h', 'eviction frozen: nobody is missing; failed calls 0', {
      leaptMs: HOUR_MS,
      wrongEvictions: missing,
      mostSuspects: suspects,
      calls: calls.length,
      failedCalls: failures(calls).length,
    })
    expect([missing, failures(calls)]).toEqual([0, []])
    expect(suspects).toBeGreaterThan(0)
  })

  it('goes back in an instance: its lease does not notice', async () => {
    // Long enough that a machine busy with other tests does not make suspects of its own.
    const ttlMs = 9_000
    const some = ['a', 'b'].map((id) => ({ id, redis: { url: redis.url }, ttlMs }))
    await using scene = await RegistryScene.open({ REDIS_URL: redis.url }, some)
    const shifted = await scene.start({ id: 'shifted', redis: { url: redis.url }, ttlMs })
    const load = new Load(scene)
    await realTime(500)
    const { revision } = await store.list(Who.name)
    shifted.running.signal('SIGUSR2')
    const { missing } = await watchTable(3, ttlMs)
    // Whatever a caller could see would have raised the revision: a suspect, an eviction, a return.
    const flaps = 'unchanged' in await store.list(Who.name, revision) ? 0 : 1
    const calls = await load.stop()
    report('9 worker clock −1 h', 'no flap: the table does not change; failed calls 0', {
      setBackMs: HOUR_MS,
      flaps,
      missing,
      calls: calls.length,
      failedCalls: failures(calls).length,
    })
    expect([missing, flaps, failures(calls)]).toEqual([0, 0, []])
  })

  it('goes by without most beats: nobody is evicted who lives', async () => {
    const count = 12
    await using scene = await RegistryScene.open({ REDIS_URL: redis.url }, [{
      id: 'steady',
      redis: { url: redis.url },
    }])
    const some = { id: 'lossy', redis: { url: redis.url }, ttlMs: 1_500, dropBeats: 0.6, copies: count - 1 }
    await scene.start(some)
    const load = new Load(scene)
    const { missing, suspects } = await watchTable(count, 10_000)
    const calls = await load.stop()
    report('14 60 % of heartbeats dropped', 'no wrong eviction; failed calls 0', {
      instances: count,
      leases: Math.round(10_000 / some.ttlMs),
      wrongEvictions: missing,
      mostSuspects: suspects,
      calls: calls.length,
      failedCalls: failures(calls).length,
    })
    expect([missing, failures(calls)]).toEqual([0, []])
    expect(suspects).toBeGreaterThan(0)
  })
})
