import { afterAll, beforeAll } from 'vitest'
import { type LocalRedis, startRedisServer } from '../../infra/local_redis.ts'
import { type RedisRest, startRedisRest } from '../../infra/redis_rest.ts'
import { eventually } from './expectations.ts'
import { redisCommand } from './redis_command.ts'
import { restSuites } from './stores_rest.ts'
import { tcpSuites } from './stores_tcp.ts'
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
  await eventually(async () => String(await redisCommand(cluster.url, 'CLUSTER', 'INFO')).includes('cluster_state:ok'))
})

afterAll(async () => {
  await rest?.close()
  await Promise.all([server?.close(), cluster?.close()])
})

tcpSuites('Redis over TCP', () => server.url).forEach(register)
tcpSuites('Redis in cluster mode', () => cluster.url).forEach(register)
restSuites(() => rest).forEach(register)
