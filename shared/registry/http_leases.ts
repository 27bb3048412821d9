import { readAll } from '../base/bytes.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { readHttpError } from '../rpc/http.ts'
import type { LeasedInstance, LeaseStore } from '../stores/lease_store.ts'
import { decodeJson } from '../wire/codec.ts'
import { invalid, RpcError } from '../wire/errors.ts'

export interface HttpLeasesOptions {
  /** An API key with scope "call"; a gateway on loopback may need none. */
  key?: string
  /** `globalThis.fetch` by default. */
  fetch?: (request: Request) => Promise<Response>
}

/**
 * The registry as a gateway shows it: `GET /registry/services/{service}`. Whoever has a revision asks whether it is still
 * that one, which costs gateway and line next to nothing.
 * @throws RpcError `invalid_argument` if `gateway` is no absolute URL
 */
export function httpLeases(gateway: string, options: HttpLeasesOptions = {}): Pick<LeaseStore, 'list'> {
  if (!URL.canParse(gateway)) throw invalid(`Cannot read the registry: expected an absolute URL, got "${gateway}"`)
  const root = gateway.replace(/\/+$/, '')
  const send = options.fetch ?? ((request: Request) => globalThis.fetch(request))
  return {
    async list(service, sinceRevision) {
      const headers: Record<string, string> = {}
      if (options.key) headers.authorization = `Bearer ${options.key}`
      if (sinceRevision !== undefined) headers['if-none-match'] = `"${sinceRevision}"`
      const response = await send(
        new Request(`${root}/registry/services/${encodeURIComponent(service)}`, {
          headers,
          redirect: 'manual',
          signal: AbortSignal.timeout(DEFAULTS.registerTimeoutMs),
        }),
      ).catch((cause) => {
        throw new RpcError('unavailable', `Cannot read the registry: ${root} does not answer`, { cause })
      })
      if (response.status === 304 && sinceRevision !== undefined) return { unchanged: true, revision: sinceRevision }
      if (response.status === 404) {
        await response.body?.cancel()
        return { revision: 0, instances: [] }
      }
      if (!response.ok) throw await readHttpError(response)
      const body = await readAll(response.body, LIMITS.maxJsonBytes)
      // What a gateway knows while its store is away has no revision; 0 lets what is missing in it be kept for a while.
      const { revision = 0, instances, recent, bornAtMs, readAtMs } = (body ? decodeJson(body) : {}) as Partial<Table>
      if (typeof revision === 'number' && Array.isArray(instances)) {
        return { revision, instances, bornAtMs, readAtMs, ...(Array.isArray(recent) && { recent }) }
      }
      throw new RpcError('unavailable', `Cannot read the registry: ${root} answered with something else`)
    },
  }
}

interface Table {
  revision: number
  recent: number[]
  bornAtMs: number
  readAtMs: number
  instances: LeasedInstance[]
}
