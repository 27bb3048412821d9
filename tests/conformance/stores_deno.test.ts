import { startRedisServer } from '../../infra/local_redis.ts'
import { startRedisRest } from '../../infra/redis_rest.ts'
import { run } from '../../infra/tools.ts'
import { embeddedSuites } from './stores_embedded.ts'
import { restSuites } from './stores_rest.ts'
import { tcpSuites } from './stores_tcp.ts'
import { never, registerRemote, type RemoteReport } from './vitest_suite.ts'

registerRemote('Deno', [...embeddedSuites, ...tcpSuites('Redis over TCP', never), ...restSuites(never)], async () => {
  await using server = await startRedisServer()
  await using rest = await startRedisRest({ redisUrl: server.url, token: 'test-token', port: 0 })
  const program = ['tests/conformance/stores_deno.ts', server.url, rest.url, rest.token]
  const { code, output } = await run('deno', ['run', '-A', '--no-lock', ...program], 'capture')
  if (code !== 0) throw new Error(output)
  return JSON.parse(output.trim().split('\n').at(-1) ?? '') as RemoteReport
})
