import { afterAll, beforeAll } from 'vitest'
import { type LocalRedis, startRedisServer } from '../../infra/local_redis.ts'
import { type RedisRest, startRedisRest } from '../../infra/redis_rest.ts'
import { tcpRedis } from '../../shared/stores/tcp_redis.ts'
import { upstashRedis } from '../../shared/stores/upstash_redis.ts'
import { leaseStoreSuite } from './lease_store_suite.ts'
import { onceStoreSuite } from './once_store_suite.ts'
import { redisCommand } from './redis_command.ts'
import { redisLeaseHarness, redisOnceHarness } from './redis_harness.ts'
import { register } from './vitest_suite.ts'

let server: LocalRedis
let cluster: LocalRedis
let rest: RedisRest

beforeAll(async () => {
  server = await startRedisServer()
  rest = await startRedisRest({ redisUrl: server.url, token: 'test-token', port: 0 })
  // One node that owns every slot still refuses scripts whose keys lie in several, as any cluster does.
  cluster = await startRedisServer({ args: ['--cluster-enabled', 'yes'] })
  await redisCommand(cluster.url, 'CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
})

afterAll(async () => {
  await rest?.close()
  await Promise.all([server?.close(), cluster?.close()])
})

// A machine busy with other tests may be slow; slowness itself is tested elsewhere.
const timeoutMs = 20_000
const overTcp = () => tcpRedis(server.url, { timeoutMs })
const overRest = () => upstashRedis({ ...rest, timeoutMs })
const inCluster = () => tcpRedis(cluster.url, { timeoutMs })

register(leaseStoreSuite('Redis over TCP', () => redisLeaseHarness(server.url, overTcp)))
register(leaseStoreSuite('Redis over REST', () => redisLeaseHarness(server.url, overRest)))
register(leaseStoreSuite('Redis in cluster mode', () => redisLeaseHarness(cluster.url, inCluster)))
register(onceStoreSuite('Redis over TCP', () => redisOnceHarness(overTcp)))
register(onceStoreSuite('Redis over REST', () => redisOnceHarness(overRest)))
