import { RpcError } from '../../shared/wire/errors.ts'
import type { GatewayAccess } from './command.ts'

/** Asks one of the gateway's management routes. @throws RpcError with the gateway's own words */
export async function request<T>(
  access: GatewayAccess,
  method: 'GET' | 'PUT' | 'POST' | 'DELETE',
  path: string,
  options: { body?: Uint8Array<ArrayBuffer>; headers?: Record<string, string> } = {},
): Promise<T> {
  const headers = { ...access.headers, ...options.headers }
  const response = await fetch(access.url + path, { method, headers, body: options.body, redirect: 'manual' }).catch(
    (cause) => {
      throw new RpcError(
        'unavailable',
        `Cannot reach the gateway: ${access.url} does not answer (is it running? npm start)`,
        { cause },
      )
    },
  )
  const text = await response.text()
  if (response.ok) return JSON.parse(text) as T
  throw new RpcError(
    RpcError.codeOfStatus(response.status),
    detailOf(text) ?? `Cannot ${method} ${path}: the gateway answered ${response.status}`,
  )
}

function detailOf(text: string): string | undefined {
  try {
    const { detail, message } = JSON.parse(text) as { detail?: string; message?: string }
    return detail ?? message
  } catch {
    return undefined
  }
}
