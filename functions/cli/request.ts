import { readHttpError } from '../../shared/rpc/http.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { GatewayAccess } from './command.ts'

/** Asks one of the gateway's management routes. @throws RpcError with the gateway's own words */
export async function request<T>(
  access: GatewayAccess,
  method: 'GET' | 'PUT' | 'POST' | 'DELETE',
  path: string,
  options: { body?: Uint8Array<ArrayBuffer>; headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<T> {
  const headers = { ...access.headers, ...options.headers }
  const { body, signal } = options
  const response = await fetch(access.url + path, { method, headers, body, signal, redirect: 'manual' }).catch(
    (cause) => {
      throw new RpcError(
        'unavailable',
        `Cannot reach the gateway: ${access.url} does not answer (is it running? npm start)`,
        { cause },
      )
    },
  )
  if (!response.ok) throw await readHttpError(response)
  return (response.status === 204 ? undefined : await response.json()) as T
}
