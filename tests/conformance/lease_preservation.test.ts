import { afterAll, beforeAll } from 'vitest'
import { type LocalRedis, startRedisServer } from '../../infra/local_redis.ts'
import { type RedisRest, startRedisRest } from '../../infra/redis_rest.ts'
import { FakeClock } from '../../shared/base/clock.ts'
import { newId } from '../../shared/base/random.ts'
import type { RedisCommands } from '../../shared/stores/redis_commands.ts'
import { redisLeases } from '../../shared/stores/redis_store.ts'
import { openSqliteLeases } from '../../shared/stores/sqlite_store.ts'
import { tcpRedis } from '../../shared/stores/tcp_redis.ts'
import { upstashRedis } from '../../shared/stores/upstash_redis.ts'
import { leasePreservationSuite, type PreservationHarness } from './lease_preservation_suite.ts'
import { leapRedisClock } from './redis_leap.ts'
import { register } from './vitest_suite.ts'

let server: LocalRedis
let rest: RedisRest

beforeAll(async () => {
  server = await startRedisServer()
  rest = await startRedisRest({ redisUrl: server.url, token: 'test-token', port: 0 })
})
afterAll(async () => {
  await rest?.close()
  await server?.close()
})

async function onSqlite(): Promise<PreservationHarness> {
  const clock = new FakeClock()
  const store = openSqliteLeases(':memory:', clock)
  return { store, leap: (ms) => clock.advance(ms), close: () => store.close() }
}

async function onRedis(redis: RedisCommands): Promise<PreservationHarness> {
  const prefix = newId('leases')
  return {
    store: redisLeases(redis, { prefix }),
    leap: (ms) => leapRedisClock(redis, prefix, ms),
    close: () => redis.quit(),
  }
}

const timeoutMs = 20_000
register(leasePreservationSuite('SQLite in memory', onSqlite))
register(leasePreservationSuite('Redis over TCP', () => onRedis(tcpRedis(server.url, { timeoutMs }))))
register(
  leasePreservationSuite(
    'Redis over REST',
    () => onRedis(upstashRedis({ url: rest.url, token: rest.token, timeoutMs })),
  ),
)
