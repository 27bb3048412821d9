import type { Clock } from '../../shared/base/clock.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import type { Log } from '../../shared/base/log.ts'
import type { Metrics } from '../../shared/base/metrics.ts'
import type { Random } from '../../shared/base/random.ts'
import { Pool } from '../../shared/contracts/pool.ts'
import { ModelCatalog } from '../../shared/models/catalog.ts'
import type { BlobStore } from '../../shared/models/blob_store.ts'
import { preferHealthy, preferZone } from '../../shared/registry/health.ts'
import { RegistryTable } from '../../shared/registry/table.ts'
import { RegistryWatch } from '../../shared/registry/watch.ts'
import { createRouter } from '../../shared/routing/call.ts'
import { fetchTransport } from '../../shared/rpc/transports/fetch.ts'
import type { Send } from '../../shared/rpc/send.ts'
import type { Instance, LeasedInstance, LeaseStore } from '../../shared/stores/lease_store.ts'
import type { GatewayDeps, Relays } from './deps.ts'
import type { Guard } from './guard.ts'
import { createInference } from './inference.ts'

/** What differs between Node, Deno and Cloudflare. */
export interface Platform {
  guard: Guard
  leases: LeaseStore
  blobs: BlobStore
  relays: Relays
  /** A way to a relay by its name; undefined if this process cannot reach it. */
  reachRelay(name: string): Send | undefined
  /** A way to a service with an address of its own; over `fetch` by default. */
  reachUrl?(url: string): Send
  /** Pools of this very process, known without asking the store. */
  localPools(): readonly Instance[]
  assets(path: string): Promise<Response>
  /** Where this gateway runs: instances of the same zone are preferred. None by default. */
  zone?: string
  /** Whether this process lives on between requests, so that it can keep its table fresh. Not by default. */
  lasting?: boolean
  clock: Clock
  random: Random
  metrics: Metrics
  log: Log
}

/** Puts the gateway's parts together: table → router → inference → routes. */
export function wireGateway(platform: Platform): GatewayDeps {
  const { clock, leases } = platform
  const table = new RegistryTable(platform)
  const catalog = new ModelCatalog(platform.blobs, { clock })
  const connect = connector(platform)

  const instances = async (service: string): Promise<readonly LeasedInstance[]> => {
    const local = service === Pool.name ? platform.localPools() : []
    // With pools of its own, a gateway need not wait for the store to tell it of others.
    const listed = await table.instances(service).catch((thrown) => {
      if (local.length === 0) throw thrown
      return []
    })
    // A pool that comes into being must be found soon: callers are waiting for it.
    if (listed.length === 0 && service === Pool.name) table.invalidate(service)
    const unlisted = local.filter(({ id }) => !listed.some((instance) => instance.id === id))
    return unlisted.length === 0 ? listed : [...listed, ...unlisted.map((instance) => ({ ...instance, ageMs: 0 }))]
  }

  const prefer = (listed: readonly LeasedInstance[]) => preferZone(preferHealthy(listed), platform.zone ?? '')
  const route = createRouter({
    ...platform,
    instances(service) {
      const fresh = table.fresh(service)
      const complete = service !== Pool.name ||
        platform.localPools().every(({ id }) => fresh?.some((one) => one.id === id))
      return fresh && complete ? prefer(fresh) : instances(service).then(prefer)
    },
    connect,
    onUnreachable: (service) => table.invalidate(service),
  })
  return {
    ...platform,
    leases,
    table,
    watch: platform.lasting ? new RegistryWatch(table, clock) : undefined,
    catalog,
    route,
    infer: createInference({ catalog, route }),
    async pools() {
      const reachable: { instance: LeasedInstance; send: Send }[] = []
      for (const instance of await instances(Pool.name)) {
        const send = connect(instance)
        if (send) reachable.push({ instance, send })
      }
      return reachable
    },
  }
}

/** Ways to instances, made once for each address. */
function connector(platform: Platform): (instance: LeasedInstance) => Send | undefined {
  const { reachRelay, reachUrl = (url) => fetchTransport(url).send } = platform
  const byUrl = new Map<string, Send>()
  return ({ address }) => {
    if (address.kind === 'relay') return reachRelay(address.name)
    let send = byUrl.get(address.url)
    if (send) return send
    // Addresses come and go; what is dropped here is made anew with the next call.
    if (byUrl.size >= LIMITS.maxUpstreams) byUrl.clear()
    byUrl.set(address.url, send = reachUrl(address.url))
    return send
  }
}
