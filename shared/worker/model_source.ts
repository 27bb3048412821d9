import { type Bytes, concat, sha256Hex } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { abortError } from '../rpc/deadline.ts'
import { readHttpError } from '../rpc/http.ts'
import { RpcError } from '../wire/errors.ts'

/** Where a worker keeps model bytes between lives: Cache Storage in a tab, a folder on a host. */
export interface ModelCache {
  get(sha256: string): Promise<Bytes | undefined>
  put(sha256: string, bytes: Bytes): Promise<void>
}

export interface ModelSource {
  /** A model's bytes, checked against their hash. */
  get(sha256: string, signal: AbortSignal): Promise<Bytes>
}

export interface HttpModelsOptions {
  /** Sent with every download: credentials, for example. */
  headers?: Readonly<Record<string, string>>
  cache?: ModelCache
  /** Hears how far a download has come: `total` is 0 where the gateway does not say. Done when both are equal. */
  onProgress?(bytes: number, total: number): void
  /** `globalThis.fetch` by default. */
  fetch?: (request: Request) => Promise<Response>
}

/**
 * Models from a gateway's `/blobs`, through a cache. Bytes are checked against their SHA-256 whether they came over the
 * network or out of the cache: neither is trusted.
 */
export function httpModels(gateway: string, options: HttpModelsOptions = {}): ModelSource {
  const root = gateway.replace(/\/+$/, '')
  return {
    async get(sha256, signal) {
      // A cache that cannot be read costs a download, one that cannot be written costs the next: neither fails a load.
      const cached = await options.cache?.get(sha256).catch(() => undefined)
      if (cached && await sha256Hex(cached) === sha256) return cached
      const bytes = await download(`${root}/blobs/${sha256}`, options, signal)
      const actual = await sha256Hex(bytes)
      if (actual !== sha256) {
        throw new RpcError('data_loss', `Cannot load the model: its SHA-256 must be ${sha256}, got ${actual}`)
      }
      await options.cache?.put(sha256, bytes).catch(() => {})
      return bytes
    },
  }
}

/** Times that a download which was cut off is taken up again, as long as each time more of it came. */
const MAX_RESUMES = 16

async function download(url: string, options: HttpModelsOptions, signal: AbortSignal): Promise<Bytes> {
  const partial: Partial = { parts: [], bytes: 0 }
  for (let resumes = 0;; resumes++) {
    const before = partial.bytes
    try {
      await read(url, options, signal, partial)
      return concat(partial.parts)
    } catch (cause) {
      if (signal.aborted) throw abortError(signal.reason)
      if (cause instanceof RpcError) throw cause
      if (partial.bytes > before && resumes < MAX_RESUMES) continue
      throw new RpcError('unavailable', `Cannot fetch the model: ${url} did not answer in full`, { cause })
    }
  }
}

/** What has come of a model so far. Its hash is checked in the end: a part of another would be found out. */
interface Partial {
  parts: Uint8Array[]
  bytes: number
}

/** Reads what is missing. Rejects if the answer ends early; what came until then is kept. */
async function read(url: string, options: HttpModelsOptions, signal: AbortSignal, partial: Partial): Promise<void> {
  const send = options.fetch ?? ((request: Request) => fetch(request))
  const headers = new Headers(options.headers)
  if (partial.bytes > 0) headers.set('range', `bytes=${partial.bytes}-`)
  // A redirect is an answer like any other that is not the model: credentials must not follow it.
  const response = await send(new Request(url, { headers, signal, redirect: 'manual' }))
  if (!response.ok) throw await readHttpError(response)
  if (response.status !== 206) [partial.parts, partial.bytes] = [[], 0]
  // Of an answer that was compressed on its way the length says nothing.
  const length = response.headers.has('content-encoding') ? 0 : Number(response.headers.get('content-length') ?? 0)
  const total = length > 0 ? partial.bytes + length : 0
  const reader = (response.body as ReadableStream<Uint8Array> | null)?.getReader()
  for (;;) {
    const { done, value } = await reader?.read() ?? { done: true, value: undefined }
    if (done) break
    partial.parts.push(value)
    partial.bytes += value.byteLength
    if (partial.bytes > LIMITS.maxModelBytes) {
      void reader?.cancel().catch(() => {})
      const limit = LIMITS.maxModelBytes
      throw new RpcError('resource_exhausted', `Cannot load the model: it may have ${limit} bytes, got more`)
    }
    options.onProgress?.(partial.bytes, total)
  }
  if (total > partial.bytes) throw new Error(`${total} bytes were promised, ${partial.bytes} came`)
}
