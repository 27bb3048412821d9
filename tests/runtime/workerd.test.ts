import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import type { RemoteReport } from './remote_entry.ts'
import { bundleSuites, remoteSuites } from './remote.ts'

remoteSuites('workerd', /Cloudflare-Workers/, async () => {
  const miniflare = new Miniflare(convertV4MiniflareOptions({
    modules: true,
    script: await bundleSuites(['workerd', 'worker', 'browser']),
    compatibilityDate: '2026-11-01',
    cf: false,
  }))
  try {
    const response = await miniflare.dispatchFetch('http://localhost/')
    return await response.json() as RemoteReport
  } finally {
    await miniflare.dispose()
  }
})
