import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type LocalRedis, startRedisServer } from '../../../infra/local_redis.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import type { LeaseStore } from '../../../shared/stores/lease_store.ts'
import type { RedisCommands } from '../../../shared/stores/redis_commands.ts'
import { redisLeases } from '../../../shared/stores/redis_store.ts'
import { tcpRedis } from '../../../shared/stores/tcp_redis.ts'
import { eventually, realTime } from '../../conformance/expectations.ts'
import { redisCommand } from '../../conformance/redis_command.ts'
import { instance, PEERS } from './instances.ts'

let server: LocalRedis
let redis: RedisCommands
let store: LeaseStore
/** Calls of each round trip since the store was made. */
let roundTrips: number[]

beforeAll(async () => {
  server = await startRedisServer()
})
afterAll(() => server?.close())

beforeEach(async () => {
  redis = tcpRedis(server.url, { timeoutMs: 20_000 })
  await command('FLUSHALL')
  roundTrips = []
  const counting: RedisCommands = {
    evaluate(calls) {
      roundTrips.push(calls.length)
      return redis.evaluate(calls)
    },
    setIfAbsent: (key, value, ttlMs) => redis.setIfAbsent(key, value, ttlMs),
    take: (key) => redis.take(key),
    ping: () => redis.ping(),
    quit: () => redis.quit(),
  }
  store = redisLeases(counting)
})
afterEach(() => redis.quit())

const command = (...args: string[]) => redisCommand(server.url, ...args)

const key = (kind: string) => `shoal:leases:{demo.Hello}:${kind}`

async function ids(): Promise<string[]> {
  const listing = await store.list('demo.Hello')
  return 'instances' in listing ? listing.instances.map(({ id }) => id) : []
}

describe('leases in Redis', () => {
  it('renews a batch in one round trip, with one script for each service', async () => {
    const batch = ['One', 'Two', 'Three'].flatMap((service) => [
      instance({ service, id: 'a' }),
      instance({ service, id: 'b' }),
    ])
    await store.renew(batch)
    roundTrips = []
    await store.renew(batch)
    expect(roundTrips).toEqual([4])
    await store.list('One')
    roundTrips = []
    await store.list('One')
    expect(roundTrips).toEqual([1])
  })

  it('sends a script again by its source when Redis has forgotten it', async () => {
    await store.renew([instance()])
    await command('SCRIPT', 'FLUSH')
    roundTrips = []
    await store.renew([instance({ weight: 2 })])
    expect(roundTrips).toEqual([2, 2])
    roundTrips = []
    await store.renew([instance({ weight: 3 })])
    expect(roundTrips).toEqual([2])
    expect(await ids()).toEqual(['a'])
  })

  it('leaves every key to expire, none before the last lease and the memory of lives', async () => {
    await store.renew([instance(), instance({ id: 'b' })])
    await store.leave('demo.Hello', 'b', 'first')
    await store.list('demo.Hello')
    const keys = await command('KEYS', '*')
    expect(keys).toHaveLength(9)
    for (const name of keys as string[]) {
      const lifeMs = await command('PTTL', name)
      expect(lifeMs, name).toBeGreaterThan(DEFAULTS.lifeMemoryMs)
      expect(lifeMs, name).toBeLessThanOrEqual(DEFAULTS.leaseKeyRetentionMs)
    }
  })

  it('lets the revision go no later than the table', async () => {
    await store.renew([instance({ ttlMs: 1 }), instance({ id: 'b' })])
    await command('PEXPIRE', key('revision'), '100000')
    await store.leave('demo.Hello', 'b', 'first')
    await store.list('demo.Hello')
    expect(await command('PTTL', key('revision'))).toBeLessThanOrEqual(100_000)
  })

  it('tells no reader "unchanged" after Redis evicted the revision alone', async () => {
    await store.renew([instance()])
    const { revision } = await store.list('demo.Hello')
    await command('DEL', key('revision'))
    await realTime(5)
    expect(await store.list('demo.Hello', 0)).toHaveProperty('instances')
    expect(await store.list('demo.Hello', revision)).toHaveProperty('instances')
  })

  it.each(['instances', 'expiries', 'lives'])('is whole again after a beat if the %s alone are lost', async (kind) => {
    await store.renew([instance(), instance({ id: 'b' })])
    const { revision } = await store.list('demo.Hello')
    await command('DEL', key(kind))
    expect(await store.renew([instance(), instance({ id: 'b' })])).toEqual([])
    expect(await ids()).toEqual(['a', 'b'])
    const listing = await store.list('demo.Hello', revision)
    // Lives are not visible; the other two are what readers see.
    expect('unchanged' in listing).toBe(kind === 'lives')
  })

  it('forgets the lives of instances that have been gone for long', async () => {
    await store.renew([instance({ id: 'kept' })])
    await store.leave('demo.Hello', 'a', 'first')
    expect(await store.renew([instance()])).toHaveLength(1)
    expect(await command('HKEYS', key('lives'))).toEqual(['kept', 'a'])
    await command('ZADD', key('forgets'), '1', 'a')
    await store.renew([instance({ id: 'kept' })])
    expect(await command('HKEYS', key('lives'))).toEqual(['kept'])
    expect(await command('ZCARD', key('forgets'))).toBe(0)
  })

  it('keeps lives in mind while an instance lives, and for the memory of lives after', async () => {
    await store.renew([instance({ incarnation: 'first', ttlMs: 1 })])
    await eventually(async () => (await ids()).length === 0)
    const [seconds] = await command('TIME') as string[]
    const forgetAtMs = Number(await command('ZSCORE', key('forgets'), 'a'))
    expect(Math.abs(forgetAtMs - Number(seconds) * 1000 - DEFAULTS.lifeMemoryMs)).toBeLessThan(60_000)
    await store.renew([instance({ incarnation: 'second' })])
    expect(await command('ZCARD', key('forgets'))).toBe(0)
  })

  it('drops expired leases when others are renewed: a service that no one reads stays bounded', async () => {
    await store.renew([instance({ id: 'gone', ttlMs: 1 })])
    await realTime(5)
    await store.renew(PEERS)
    expect(await command('HLEN', key('instances'))).toBe(PEERS.length)
    expect(await command('HEXISTS', key('instances'), 'gone')).toBe(0)
    for (const kind of ['expiries', 'fresh']) expect(await command('ZCARD', key(kind))).toBe(PEERS.length)
    expect(await command('EXISTS', key('held'))).toBe(0)
  })

  it('drops names of services whose leases are all over', async () => {
    await store.renew([instance({ service: 'demo.Gone', ttlMs: 1 }), instance()])
    await realTime(5)
    expect(await store.services()).toEqual(['demo.Hello'])
    expect(await command('ZRANGE', 'shoal:leases:services', '0', '-1')).toEqual(['demo.Hello'])
  })

  it('does not give out again the revision of a change that a failover lost', async () => {
    const kinds = ['instances', 'expiries', 'revision', 'lives']
    await store.renew([instance()])
    for (const kind of kinds) await command('COPY', key(kind), `replica:${kind}`)
    await store.renew([instance({ weight: 2 })])
    const lost = await store.list('demo.Hello')
    for (const kind of kinds) await command('RENAME', `replica:${kind}`, key(kind))
    await realTime(5)
    await store.renew([instance({ weight: 3 })])
    expect(await store.list('demo.Hello', lost.revision)).toMatchObject({ instances: [{ weight: 3 }] })
  })

  it('says that Redis refused, and what it said', async () => {
    await command('SET', key('instances'), 'not a hash')
    await expect(store.renew([instance()])).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/^Cannot use the store: Redis must accept EVALSHA, got "WRONGTYPE /),
    })
  })

  it('is unavailable while Redis is out of memory', async () => {
    await store.renew([instance()])
    await command('CONFIG', 'SET', 'maxmemory', '1')
    try {
      await expect(store.renew([instance()])).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringContaining('OOM'),
      })
    } finally {
      await command('CONFIG', 'SET', 'maxmemory', '0')
    }
    expect(await ids()).toEqual(['a'])
  })

  it('keeps deployments apart by prefix, which must leave the hash tag alone', async () => {
    const other = redisLeases(redis, { prefix: 'other' })
    await other.renew([instance({ service: 'demo.Other' })])
    expect(await store.services()).toEqual([])
    expect(await other.services()).toEqual(['demo.Other'])
    expect(() => redisLeases(redis, { prefix: 'a{b}' })).toThrow('Cannot use this prefix')
  })

  it('leaves the connection to its owner', async () => {
    await store.close()
    await redis.ping()
  })
})
