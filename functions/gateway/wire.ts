import type { Clock } from '../../shared/base/clock.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import type { Log } from '../../shared/base/log.ts'
import type { Metrics } from '../../shared/base/metrics.ts'
import type { Random } from '../../shared/base/random.ts'
import { Pool } from '../../shared/contracts/pool.ts'
import { JobDesk } from '../../shared/jobs/job_desk.ts'
import { JobFeed } from '../../shared/jobs/job_feed.ts'
import { ModelCatalog } from '../../shared/models/catalog.ts'
import type { BlobStore } from '../../shared/models/blob_store.ts'
import { ResultCache } from '../../shared/models/result_cache.ts'
import { preferZone } from '../../shared/registry/zones.ts'
import { RegistryTable } from '../../shared/registry/table.ts'
import { RegistryWatch } from '../../shared/registry/watch.ts'
import { createRouter } from '../../shared/routing/call.ts'
import type { RoutingPolicy } from '../../shared/routing/policy.ts'
import { fetchTransport } from '../../shared/rpc/transports/fetch.ts'
import type { Send } from '../../shared/rpc/send.ts'
import type { SocketPool } from '../../shared/rpc/socket_pool.ts'
import type { Instance, LeasedInstance, LeaseStore } from '../../shared/stores/lease_store.ts'
import type { JobStore } from '../../shared/stores/job_store.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { GatewayDeps, ProcessProbe, Relays } from './deps.ts'
import type { Guard } from './guard.ts'
import { type HostAddress, hostToken } from './host_token.ts'
import { createInference } from './inference.ts'

/** What differs between Node, Deno and Cloudflare. */
export interface Platform {
  guard: Guard
  leases: LeaseStore
  blobs: BlobStore
  relays: Relays
  jobs: {
    store: JobStore
    /** Tells whoever works on jobs that there are some, or which is no longer wanted. Must not throw. */
    wake(canceled?: string): void
    /** Aborts when the gateway stops; never by default. */
    ended?: AbortSignal
  }
  /** A way to a relay by its name; undefined if this process cannot reach it. */
  reachRelay(name: string): Send | undefined
  /** A way to a service with an address of its own; over `fetch` by default. @param headers sent with each call */
  reachUrl?(url: string, headers?: Readonly<Record<string, string>>): Send
  /** Sockets to instances that take calls over them, where this process lives on between requests. */
  sockets?: Pick<SocketPool, 'connect'>
  /** What gateways of one deployment share: it signs enrolment tokens, and hosts' tokens come of it. May throw. */
  secret(): string
  /** Pools of this very process, known without asking the store. */
  localPools(): readonly Instance[]
  assets(path: string): Promise<Response>
  /** Looks into this process, where it is one that can be looked into. */
  process?: ProcessProbe
  /** Where this gateway runs: instances of the same zone are preferred. None by default. */
  zone?: string
  /** How calls of a service are routed; as in DEFAULTS where it says nothing. */
  routing?(service: string): RoutingPolicy | undefined
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
  const results = new ResultCache({ ...platform, shares: platform.lasting ?? false })
  const connect = connector(platform)
  const { jobs: { store, wake, ended = new AbortController().signal } } = platform
  const feed = new JobFeed()

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

  const { zone = '' } = platform
  const route = createRouter({
    ...platform,
    instances(service) {
      const fresh = table.fresh(service)
      const complete = service !== Pool.name ||
        platform.localPools().every(({ id }) => fresh?.some((one) => one.id === id))
      return fresh && complete ? fresh : instances(service)
    },
    connect,
    near: (equals) => preferZone(equals, zone),
    policy: (service) => service === Pool.name ? POOL_ROUTING : platform.routing?.(service),
    onUnreachable: (service) => table.invalidate(service),
  })
  return {
    ...platform,
    leases,
    table,
    watch: platform.lasting ? new RegistryWatch(table, clock) : undefined,
    catalog,
    route,
    hostToken: (address) => hostToken(platform.secret(), address),
    infer: createInference({ catalog, route, results }),
    jobs: {
      store,
      feed,
      ended,
      desk: new JobDesk({
        ...platform,
        store,
        onSubmitted: (lanes) => {
          // Who works on jobs goes by the table it has at hand, which nobody may have read for long.
          if (lanes.has('model') && platform.localPools().length === 0) void table.instances(Pool.name).catch(() => {})
          wake()
        },
        onCanceled: (id) => {
          wake(id)
          feed.tell(id)
        },
      }),
    },
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

/**
 * A pool is one service to the router, and many models and workers behind it. What fails is one of those, of which a relay
 * keeps account itself: to leave relays out for it would take the other models' workers away. A host that does not answer at
 * all is left out: it stays listed until its lease ends.
 */
const POOL_ROUTING: RoutingPolicy = { outliers: { only: 'unanswered' }, breaker: false }

/** Ways to instances, made once for each address. */
function connector(platform: Platform): (instance: LeasedInstance) => Send | undefined {
  const { reachRelay, reachUrl = (url, headers) => fetchTransport(url, { headers }).send, sockets } = platform
  const [urls, hosts, functions] = [new Map<string, Send>(), new Map<string, Send>(), new Map<string, Send>()]
  /** With the token that an instance was given, which takes a moment to derive. */
  const reachAs = (address: HostAddress, hasSockets: boolean): Send => {
    const { kind, url } = address
    let send: Send | undefined
    const open = async (): Promise<Send> => {
      const headers = { authorization: `Bearer ${await hostToken(platform.secret(), address)}` }
      const plain = kind === 'host' ? asGateway(reachUrl(url, headers), url) : reachUrl(url)
      return send ??= sockets && hasSockets ? sockets.connect(url, headers, plain) : plain
    }
    // Its value is kept and not its promise: on Cloudflare a request must not wait for what another has begun.
    return (request) => send ? send(request) : open().then((send) => send(request))
  }
  return ({ address, service, owner }) => {
    if (address.kind === 'relay') return reachRelay(address.name)
    const { url } = address
    const hasSockets = sockets !== undefined && address.sockets === true
    const isPool = service === Pool.name
    const known = isPool ? hosts : hasSockets ? functions : urls
    const key = isPool || hasSockets ? `${owner ?? ''} ${url}` : url
    let send = known.get(key)
    if (send) return send
    // Addresses come and go; what is dropped here is made anew with the next call, and its socket ends when it is idle.
    if (known.size >= LIMITS.maxUpstreams) known.clear()
    send = isPool || hasSockets
      ? reachAs({ kind: isPool ? 'host' : 'function', url, owner }, hasSockets)
      : reachUrl(url)
    known.set(key, send)
    return send
  }
}

/** That a host does not take its gateway's token is not its caller's fault: another may take the call. */
function asGateway(send: Send, url: string): Send {
  return (request) =>
    send(request).catch((thrown) => {
      if (!(thrown instanceof RpcError) || thrown.code !== 'unauthenticated') throw thrown
      throw new RpcError('unavailable', `Cannot call the host at ${url}: it takes another token than the gateway's`, {
        cause: thrown,
        neverSent: true,
      })
    })
}
