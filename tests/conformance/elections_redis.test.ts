import { afterAll, beforeAll } from 'vitest'
import { type LocalRedis, startRedisServer } from '../../infra/local_redis.ts'
import { type RedisRest, startRedisRest } from '../../infra/redis_rest.ts'
import type { RedisCommands } from '../../shared/stores/redis_commands.ts'
import { tcpRedis } from '../../shared/stores/tcp_redis.ts'
import { upstashRedis } from '../../shared/stores/upstash_redis.ts'
import { electionStoreSuite } from './election_store_suite.ts'
import { fenceSuite } from './fence_suite.ts'
import { redisElectionHarness, redisFenceHarness } from './redis_election_harness.ts'
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

/** A machine busy with other tests may be slow; slowness itself is tested elsewhere. */
const timeoutMs = 20_000
const CLIENTS: Record<string, () => RedisCommands> = {
  'Redis over TCP': () => tcpRedis(server.url, { timeoutMs }),
  'Redis over REST': () => upstashRedis({ url: rest.url, token: rest.token, timeoutMs }),
}

for (const [name, connect] of Object.entries(CLIENTS)) {
  register(electionStoreSuite(name, () => redisElectionHarness(connect)))
  register(fenceSuite(name, () => redisFenceHarness(connect)))
}
