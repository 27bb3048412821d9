import { assert } from 'chai'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { encodeUtf8 } from '../../shared/base/bytes.ts'
import { R2BlobStore, type R2BucketLike } from '../../shared/models/r2_blob_store.ts'
import { blobStoreSuite } from './blob_store_suite.ts'

/** Cloudflare's own R2, as miniflare runs it in workerd. */
let miniflare: Miniflare

beforeAll(() => {
  miniflare = new Miniflare(convertV4MiniflareOptions({
    modules: true,
    script: 'export default { fetch: () => new Response("R2 alone is used") }',
    r2Buckets: ['BLOBS'],
    cf: false,
  }))
})
afterAll(() => miniflare.dispose())

async function openBucket(wrap = (bucket: R2BucketLike) => bucket) {
  const store = new R2BlobStore(wrap(await miniflare.getR2Bucket('BLOBS')))
  const close = async () => {
    for (const key of await store.list('')) await store.delete(key)
  }
  return { store, close }
}

const suite = blobStoreSuite('R2 blob store', () => openBucket())
describe(suite.name, () => {
  for (const [name, run] of Object.entries(suite.cases)) it(name, run)

  it('lists what R2 gives in several pages', async () => {
    let pages = 0
    const inSmallPages = (bucket: R2BucketLike): R2BucketLike => ({
      put: (...args) => bucket.put(...args),
      get: (key) => bucket.get(key),
      delete: (key) => bucket.delete(key),
      list: (options) => {
        pages++
        const limited = { ...options, limit: 2 }
        return bucket.list(limited)
      },
    })
    const { store, close } = await openBucket(inSmallPages)
    try {
      const keys = ['many/a', 'many/b', 'many/c', 'many/d', 'many/e']
      for (const key of keys) await store.put(key, encodeUtf8(key))
      pages = 0
      assert.deepEqual(await store.list('many/'), keys)
      assert.equal(pages, 3)
    } finally {
      await close()
    }
  })
})
