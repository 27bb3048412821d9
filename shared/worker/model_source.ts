import { type Bytes, readAll, sha256Hex } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
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

/**
 * Models from a gateway's `/blobs`, through a cache. Bytes are checked against their SHA-256 whether they came over the
 * network or out of the cache: neither is trusted.
 */
export function httpModels(
  gateway: string,
  options: { headers?: Record<string, string>; cache?: ModelCache } = {},
): ModelSource {
  return {
    async get(sha256, signal) {
      const cached = await options.cache?.get(sha256).catch(() => undefined)
      if (cached && await sha256Hex(cached) === sha256) return cached
      const bytes = await download(`${gateway}/blobs/${sha256}`, options.headers, signal)
      const actual = await sha256Hex(bytes)
      if (actual !== sha256) {
        throw new RpcError('data_loss', `Cannot load the model: its SHA-256 must be ${sha256}, got ${actual}`)
      }
      // A full or forbidden cache costs the next load, not this one.
      await options.cache?.put(sha256, bytes).catch(() => {})
      return bytes
    },
  }
}

async function download(url: string, headers: Record<string, string> | undefined, signal: AbortSignal): Promise<Bytes> {
  const response = await fetch(url, { headers, signal, redirect: 'error' }).catch((cause) => {
    throw new RpcError('unavailable', `Cannot fetch the model: ${url} did not answer`, { cause })
  })
  if (!response.ok) throw await readHttpError(response)
  const bytes = await readAll(response.body as ReadableStream<Uint8Array> | null, LIMITS.maxModelBytes)
  if (!bytes) {
    throw new RpcError(
      'resource_exhausted',
      `Cannot load the model: at most ${LIMITS.maxModelBytes} bytes are accepted`,
    )
  }
  return bytes
}
