import { systemClock } from './base/clock.ts'
import { LIMITS } from './base/limits.ts'
import { type Log, silentLog } from './base/log.ts'
import { Metrics } from './base/metrics.ts'
import { preferZone } from './registry/zones.ts'
import { httpLeases } from './registry/http_leases.ts'
import { RegistryTable } from './registry/table.ts'
import { RegistryWatch } from './registry/watch.ts'
import { createRouter } from './routing/call.ts'
import type { RoutingPolicy } from './routing/policy.ts'
import type { Client, ClientOptions } from './rpc/client.ts'
import type { Methods, ServiceContract } from './rpc/contract.ts'
import { createClient as createDirectClient, type CreateClientOptions as DirectOptions } from './rpc/create_client.ts'
import type { HttpCodec } from './rpc/http.ts'
import type { Send, Transport } from './rpc/send.ts'
import { SocketPool } from './rpc/socket_pool.ts'
import { fetchTransport } from './rpc/transports/fetch.ts'
import { type SocketLike, SUBPROTOCOL } from './rpc/transports/websocket.ts'
import type { LeaseStore } from './stores/lease_store.ts'

export interface RegistryOptions {
  /** Where the registry is read: a gateway's URL, or the store itself. */
  registry: string | Pick<LeaseStore, 'list'>
  /** An API key with scope "call", for a gateway's registry. */
  key?: string
  /** `msgpack` by default. */
  codec?: HttpCodec
  /** Where this caller runs: instances of the same zone are preferred. */
  zone?: string
  /**
   * Keeps the table fresh between calls, once a second, until this aborts: for processes that live on between calls.
   * Without it, calls refresh what they read when it is a second old, beside their own work.
   */
  watchUntil?: AbortSignal
  /**
   * Opens sockets to instances that take calls over them: the runtime's own on Node and Deno by default. They are kept
   * while `watchUntil` lasts; without that, calls go over HTTP.
   */
  openSocket?(url: string): SocketLike
  /** How calls are routed: balancer, hedges, bulkheads, fallbacks. As in DEFAULTS, or off, by default. */
  routing?: RoutingPolicy
  metrics?: Metrics
  log?: Log
}

export type CreateClientOptions = DirectOptions | Omit<ClientOptions, 'transport'> & RegistryOptions

/**
 * A typed client of a contract: its methods, as if they were local functions. It calls through a gateway (`gateway`), the
 * instances themselves as the registry lists them (`registry`), or over any other way (`transport`).
 */
export function createClient<const M extends Methods>(
  contract: ServiceContract<M>,
  options: CreateClientOptions,
): Client<ServiceContract<M>> {
  if (!('registry' in options)) return createDirectClient(contract, options)
  return createDirectClient(contract, { ...options, transport: registryTransport(options) })
}

/**
 * Calls instances at their own addresses, found and balanced as a gateway does it: the same table, the same policies, one
 * hop less. Several clients may share it. Workers behind a relay have no address: they are called through a gateway.
 */
export function registryTransport(options: RegistryOptions): Transport {
  const { registry, key, codec = 'msgpack', zone = '', watchUntil } = options
  const common = { clock: systemClock, metrics: options.metrics ?? new Metrics(), log: options.log ?? silentLog }
  const leases = typeof registry === 'string' ? httpLeases(registry, { key }) : registry
  const table = new RegistryTable({ ...common, leases })
  const sends = new Map<string, Send>()
  const lasts = watchUntil !== undefined && !watchUntil.aborted
  const open = options.openSocket ?? (keepsSockets() ? openSocket : undefined)
  const sockets = lasts && open ? new SocketPool({ ...common, random: Math.random, open }) : undefined
  const watch = lasts ? new RegistryWatch(table, systemClock) : undefined
  const close = () => {
    watch?.close()
    sockets?.close()
  }
  watchUntil?.addEventListener('abort', close, { once: true })
  const send = createRouter({
    ...common,
    random: Math.random,
    policy: () => options.routing,
    instances: (service) => table.fresh(service) ?? table.instances(service),
    near: (equals) => preferZone(equals, zone),
    connect({ address }) {
      if (address.kind !== 'url') return undefined
      let send = sends.get(address.url)
      if (send) return send
      // Addresses come and go; what is dropped here is made anew with the next call.
      if (sends.size >= LIMITS.maxUpstreams) sends.clear()
      send = fetchTransport(address.url, { codec }).send
      if (sockets && address.sockets) send = sockets.connect(address.url, {}, send)
      sends.set(address.url, send)
      return send
    },
    onUnreachable: (service) => table.invalidate(service),
  })
  return { send, codec, close }
}

/** Browsers' sockets are refused, since they could be any page's; workerd keeps none between requests. */
function keepsSockets(): boolean {
  return /^(Node\.js|Deno)\//.test(globalThis.navigator?.userAgent ?? '')
}

function openSocket(url: string): SocketLike {
  return new WebSocket(url, SUBPROTOCOL)
}
