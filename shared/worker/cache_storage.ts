import { LIMITS } from '../base/limits.ts'
import type { ModelCache } from './model_source.ts'

const CACHE_NAME = 'shoal-models'

/**
 * Models in a browser's Cache Storage, by hash, so that a tab that comes back need not fetch them again. The oldest give
 * way when there are more than LIMITS.maxStoredModels; the browser may drop them all at any time.
 * @param storage `globalThis.caches`, which browsers offer to secure origins only
 */
export function cacheStorageModels(storage: CacheStorage): ModelCache {
  return {
    async get(sha256) {
      const stored = await (await storage.open(CACHE_NAME)).match(addressOf(sha256))
      return stored && new Uint8Array(await stored.arrayBuffer())
    },
    async put(sha256, bytes) {
      const cache = await storage.open(CACHE_NAME)
      await cache.put(addressOf(sha256), new Response(bytes))
      // Listed in the order in which they were put.
      const stored = await cache.keys()
      const surplus = stored.slice(0, Math.max(0, stored.length - LIMITS.maxStoredModels))
      await Promise.all(surplus.map((request) => cache.delete(request)))
    },
  }
}

/** Entries are named by URL; this one is never fetched. */
function addressOf(sha256: string): string {
  return `https://models.invalid/${sha256}`
}
