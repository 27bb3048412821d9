import { RpcError } from '../../shared/wire/errors.ts'
import type { CheckpointBlobs } from '../../shared/training/run_store.ts'
import type { GatewayAccess } from '../cli/command.ts'
import { request } from '../cli/request.ts'

/** Checkpoints in a gateway's blob store, where coordinators on any machine find them. Keys are `run/name`. */
export function gatewayCheckpoints(access: GatewayAccess): CheckpointBlobs {
  const pathOf = (key: string) => `/checkpoints/${key.split('/').map(encodeURIComponent).join('/')}`
  return {
    async put(key, bytes) {
      await request(access, 'PUT', pathOf(key), { body: bytes as Uint8Array<ArrayBuffer> })
    },
    async open(key) {
      const response = await fetch(access.url + pathOf(key), { headers: access.headers, redirect: 'manual' })
        .catch((cause) => {
          throw new RpcError('unavailable', `Cannot read checkpoint ${key}: ${access.url} does not answer`, { cause })
        })
      if (response.status === 200 && response.body) {
        return { size: Number(response.headers.get('content-length')), stream: response.body }
      }
      await response.body?.cancel()
      if (response.status === 404) return undefined
      throw new RpcError('unavailable', `Cannot read checkpoint ${key}: ${access.url} answered ${response.status}`)
    },
    async delete(key) {
      await request(access, 'DELETE', pathOf(key))
    },
  }
}
