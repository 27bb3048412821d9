import { type Bytes, readAll } from '../base/bytes.ts'
import { abortError } from '../rpc/deadline.ts'
import { RpcError } from '../wire/errors.ts'
import type { DataSource } from './data_rows.ts'

/**
 * Training data over HTTP: blobs as the worker's models come, files of others by range.
 * @param blob fetches a blob and checks its hash
 */
export function httpData(blob: DataSource['blob'], send: typeof fetch = fetch): DataSource {
  return {
    blob,
    async range(url, from, to, signal) {
      let bytes: Bytes | undefined
      try {
        // Without credentials, and to no other place than the manifest names.
        const headers = { range: `bytes=${from}-${to - 1}` }
        const response = await send(url, { headers, signal, redirect: 'error', credentials: 'omit' })
        if (response.status !== 206) {
          await response.body?.cancel()
          throw new RpcError(
            response.status >= 500 ? 'unavailable' : 'failed_precondition',
            `Cannot read ${url}: an answer of status 206 (part of the file) is required, got ${response.status}`,
          )
        }
        bytes = await readAll(response.body as ReadableStream<Uint8Array> | null, to - from)
      } catch (cause) {
        if (signal.aborted) throw abortError(signal.reason)
        if (cause instanceof RpcError) throw cause
        throw new RpcError('unavailable', `Cannot read ${url}: the connection failed`, { cause })
      }
      if (bytes) return bytes
      throw new RpcError('data_loss', `Cannot read ${url}: ${to - from} bytes were asked for, got more`)
    },
  }
}
