import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import { join } from 'node:path'
import { onceStoreSuite } from './once_store_suite.ts'
import { bundleModule, WORKERD } from '../runtime/bundle_module.ts'
import { never, registerRemote, type RemoteReport } from './vitest_suite.ts'

registerRemote('Cloudflare-Workers', [onceStoreSuite('Durable Object', never)], async () => {
  const miniflare = new Miniflare(convertV4MiniflareOptions({
    modules: true,
    script: await bundleModule(join(import.meta.dirname, 'stores_durable.ts'), WORKERD, ['cloudflare:*']),
    compatibilityDate: '2026-11-01',
    durableObjects: { STORES: { className: 'Stores', useSQLite: true } },
    cf: false,
  }))
  try {
    return await (await miniflare.dispatchFetch('http://localhost/')).json() as RemoteReport
  } finally {
    await miniflare.dispose()
  }
})
