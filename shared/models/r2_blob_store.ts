import { type BlobRange, type BlobStore, checkKey } from './blob_store.ts'

/** The part of Cloudflare's R2Bucket that is used. https://developers.cloudflare.com/r2/api/workers/workers-api-reference/ */
export interface R2BucketLike {
  put(key: string, value: Uint8Array, options?: { onlyIf: { etagDoesNotMatch: string } }): Promise<object | null>
  /** `body` is a ReadableStream; Cloudflare's declaration of it is not the DOM's. */
  get(key: string, options?: { range: BlobRange }): Promise<{ size: number; body: object } | null>
  list(options: { prefix: string; cursor?: string }): Promise<R2Page>
  delete(key: string): Promise<void>
}
type R2Page = { objects: readonly { key: string }[] } & ({ truncated: false } | { truncated: true; cursor: string })

/** Objects in an R2 bucket. R2 writes whole objects and is strongly consistent. */
export class R2BlobStore implements BlobStore {
  readonly #bucket: R2BucketLike

  constructor(bucket: R2BucketLike) {
    this.#bucket = bucket
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#bucket.put(checkKey(key), bytes)
  }

  async putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    // As If-None-Match: * in HTTP: '*' is the tag of any object. R2 answers null where the condition fails.
    return await this.#bucket.put(checkKey(key), bytes, { onlyIf: { etagDoesNotMatch: '*' } }) !== null
  }

  async open(
    key: string,
    range?: BlobRange,
  ): Promise<{ size: number; stream: ReadableStream<Uint8Array> } | undefined> {
    const found = await this.#bucket.get(checkKey(key), range && { range })
    return found ? { size: found.size, stream: found.body as ReadableStream<Uint8Array> } : undefined
  }

  async list(prefix: string): Promise<string[]> {
    const folder = prefix.slice(0, prefix.lastIndexOf('/'))
    if (folder !== '') checkKey(folder)
    const keys: string[] = []
    let page = await this.#bucket.list({ prefix })
    keys.push(...page.objects.map(({ key }) => key))
    while (page.truncated) {
      page = await this.#bucket.list({ prefix, cursor: page.cursor })
      keys.push(...page.objects.map(({ key }) => key))
    }
    return keys.sort()
  }

  async delete(key: string): Promise<void> {
    await this.#bucket.delete(checkKey(key))
  }
}
