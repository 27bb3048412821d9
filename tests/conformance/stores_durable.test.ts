import { build } from 'esbuild'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import { join } from 'node:path'
import { onceStoreSuite } from './once_store_suite.ts'
import { never, registerRemote, type RemoteReport } from './vitest_suite.ts'

registerRemote('Cloudflare-Workers', [onceStoreSuite('Durable Object', never)], async () => {
  const miniflare = new Miniflare(convertV4MiniflareOptions({
    modules: true,
    script: await bundle(),
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

async function bundle(): Promise<string> {
  const { outputFiles: [file] } = await build({
    entryPoints: [join(import.meta.dirname, 'stores_durable.ts')],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    conditions: ['workerd', 'worker', 'browser'],
    external: ['cloudflare:*'],
    logLevel: 'silent',
  })
  if (!file) throw new Error('Cannot bundle the suite: esbuild must write one file, got none')
  return file.text
}
