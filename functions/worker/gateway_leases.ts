import { DEFAULTS } from '../../shared/base/defaults.ts'
import { readHttpError } from '../../shared/rpc/http.ts'
import type { Instance, LeaseStore } from '../../shared/stores/lease_store.ts'
import { RpcError } from '../../shared/wire/errors.ts'

/**
 * Leases kept through a gateway's registry, for a host with an address of its own.
 * @param onToken hears the token that gateways will present when they call the host, with each renewal
 */
export function gatewayLeases(
  gateway: string,
  headers: Readonly<Record<string, string>>,
  onToken: (token: string) => void,
): Pick<LeaseStore, 'renew' | 'leave'> {
  const send = async (method: 'PUT' | 'DELETE', path: string, body?: unknown): Promise<Response> => {
    const response = await fetch(`${gateway}/registry/instances/${path}`, {
      method,
      headers: { ...headers, 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      redirect: 'manual',
      signal: AbortSignal.timeout(DEFAULTS.registerTimeoutMs),
    }).catch((cause) => {
      throw new RpcError('unavailable', `Cannot register: ${gateway} does not answer`, { cause })
    })
    if (!response.ok) throw await readHttpError(response)
    return response
  }
  return {
    async renew(instances) {
      const refused: Instance[] = []
      for (const instance of instances) {
        const { address, ...record } = instance
        if (address.kind !== 'url') throw new RpcError('internal', 'Cannot register: a host must have a URL')
        try {
          const { url, sockets } = address
          const answer = await send('PUT', `${encodeURIComponent(record.id)}/lease`, { ...record, url, sockets })
          const { token } = await answer.json() as { token?: string }
          if (token !== undefined) onToken(token)
        } catch (thrown) {
          if (RpcError.from(thrown).code !== 'aborted') throw thrown
          refused.push(instance)
        }
      }
      return refused
    },
    async leave(service, id, incarnation) {
      const query = new URLSearchParams({ service, incarnation })
      await (await send('DELETE', `${encodeURIComponent(id)}?${query}`)).body?.cancel()
    },
  }
}
