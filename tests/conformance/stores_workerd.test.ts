import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import { join } from 'node:path'
import { startRedisServer } from '../../infra/local_redis.ts'
import { startRedisRest } from '../../infra/redis_rest.ts'
import { restSuites } from './stores_rest.ts'
import { bundleModule, WORKERD } from '../runtime/bundle_module.ts'
import { never, registerRemote, type RemoteReport } from './vitest_suite.ts'

registerRemote('Cloudflare-Workers', restSuites(never), async () => {
  await using server = await startRedisServer()
  await using rest = await startRedisRest({ redisUrl: server.url, token: 'test-token', port: 0 })
  const miniflare = new Miniflare(convertV4MiniflareOptions({
    modules: true,
    script: await bundleModule(join(import.meta.dirname, 'stores_workerd.ts'), WORKERD),
    compatibilityDate: '2026-11-01',
    cf: false,
    bindings: { url: rest.url, token: rest.token },
  }))
  try {
    return await (await miniflare.dispatchFetch('http://localhost/')).json() as RemoteReport
  } finally {
    await miniflare.dispose()
  }
})
