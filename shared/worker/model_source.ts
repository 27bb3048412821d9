import { type Bytes, readAll, sha256Hex } from '../base/bytes.ts'
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

async function download(url: string, options: HttpModelsOptions, signal: AbortSignal): Promise<Bytes> {
  const send = options.fetch ?? ((request: Request) => fetch(request))
  let bytes: Bytes | undefined
  try {
    // A redirect is an answer like any other that is not the model: credentials must not follow it.
    const response = await send(new Request(url, { headers: options.headers, signal, redirect: 'manual' }))
    if (!response.ok) throw await readHttpError(response)
    bytes = await readAll(response.body as ReadableStream<Uint8Array> | null, LIMITS.maxModelBytes)
  } catch (cause) {
    if (signal.aborted) throw abortError(signal.reason)
    if (cause instanceof RpcError) throw cause
    throw new RpcError('unavailable', `Cannot fetch the model: ${url} did not answer in full`, { cause })
  }
  if (bytes) return bytes
  throw new RpcError('resource_exhausted', `Cannot load the model: it may have ${LIMITS.maxModelBytes} bytes, got more`)
}
