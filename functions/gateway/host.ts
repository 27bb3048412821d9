import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Context, Hono } from 'hono'
import { systemClock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import type { Log } from '../../shared/base/log.ts'
import { Metrics } from '../../shared/base/metrics.ts'
import { FileBlobStore } from '../../shared/models/file_blob_store.ts'
import { limitsText } from '../../shared/pool/capacity.ts'
import type { JobConsumer } from '../../shared/jobs/job_consumer.ts'
import { JoinGate } from '../../shared/relay/join_gate.ts'
import type { WorkerLink } from '../../shared/relay/session.ts'
import type { Send } from '../../shared/rpc/send.ts'
import { SocketPool, type SocketPoolOptions } from '../../shared/rpc/socket_pool.ts'
import type { SocketLike } from '../../shared/rpc/transports/websocket.ts'
import { readPolicies } from '../../shared/routing/policy.ts'
import { type KeyRecord, KeyRing } from '../../shared/stores/keys.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { probeProcess } from '../operations/process_probe.ts'
import { InProcessRelay } from '../relay/in_process.ts'
import { readSpotCheckShare } from '../relay/spot_checks.ts'
import { LocalSocket } from '../relay/local_socket.ts'
import { createGateway } from './app.ts'
import { gatewayConsumer } from './job_consumer.ts'
import { fileAssets } from './assets.ts'
import type { GatewayDeps } from './deps.ts'
import type { Guard } from './guard.ts'
import { hostKeys, hostSecret } from './host_keys.ts'
import { createRpcServing, type RpcServing } from './rpc_answer.ts'
import { openStores } from './stores.ts'
import { wireGateway } from './wire.ts'

export interface HostOptions {
  host: string
  port: number
  dataDir: string
  env: Readonly<Record<string, string | undefined>>
  log: Log
  /** A key that this process made for its own workers and calls; it lives as long as the process. */
  ownKey?: KeyRecord
  /** How services with an address of their own are reached: by `fetch`, unless the runtime has a better way. */
  upstream?: { connect(url: string, headers?: Readonly<Record<string, string>>): Send; close(): Promise<void> }
  /** Opens a socket to a function or host that takes calls over sockets; without it, all calls go over HTTP. */
  openSocket?: SocketPoolOptions['open']
  /** How long calls in flight may take when the gateway stops. */
  drainMs?: number
}

/** What a runtime does with a worker's socket: it calls these as messages come and when it closes. */
export interface LinkEnd {
  receive(message: Uint8Array | string): void
  end(reason: string): void
}
export type OpenLink = (link: WorkerLink) => LinkEnd | undefined
/** Upgrades a request to a socket and connects it, in the runtime's way. */
export type Upgrade = (context: Context, open: OpenLink) => Response | Promise<Response>

/** The relay of a gateway's own process, for what else lives there: nothing on the way to it is sent. */
export interface LocalRelay {
  /** Its name in the registry. */
  readonly name: string
  /** Calls what it serves. */
  readonly send: Send
  /** Enrols a worker of this process. */
  enrol(): Promise<{ token: string; socket: SocketLike }>
}

export interface HostGateway {
  app: Hono
  local: LocalRelay
  guard: Guard
  rpc: RpcServing
  store: string
  /** Ends answers that would go on for ever. */
  endStreams(): void
  close(): Promise<void>
}

/** How long jobs under way may take when the gateway stops: what is not done then is given back. */
const CONSUMER_GRACE_MS = 1_000

const ASSETS = fileURLToPath(new URL('../../dist/assets', import.meta.url))

/** A gateway with its own relay in one process: what Node and Deno share. */
export async function openHostGateway(options: HostOptions, upgrade: Upgrade): Promise<HostGateway> {
  const { env, dataDir, log, upstream, openSocket } = options
  const clock = systemClock
  const metrics = new Metrics()
  const guard = await chooseGuard(options)
  const routing = env.SHOAL_ROUTING ? readPolicies(env.SHOAL_ROUTING) : undefined
  const stores = await openStores(env, dataDir)
  const common = { clock, random: Math.random, metrics, log, leases: stores.leases, zone: env.SHOAL_ZONE ?? '' }
  const secret = await hostSecret(env, dataDir)
  /** Made last: it works through the gateway. */
  const jobs: { consumer?: JobConsumer } = {}
  const stopping = new AbortController()
  const relay = new InProcessRelay({
    ...common,
    once: stores.once,
    secret,
    spotCheckShare: readSpotCheckShare(env.SHOAL_SPOT_CHECKS),
    onPopulated: (populated) => populated && void jobs.consumer?.wake(),
  })

  const sockets = openSocket && new SocketPool({ open: openSocket, clock, random: Math.random })
  const joins = new JoinGate(clock)
  const probe = probeProcess('gateway', () => ({
    relay: relay.name,
    workers: relay.hub.workers().map(({ id, name, device, inFlight, served, draining, models, limits, refused }) => ({
      ...{ id, name, device, inFlight, served, draining },
      models: models.length,
      ...(limits && { limits: limitsText(limits) }),
      ...(refused && { refused: refused.map(({ model, reason }) => `${model.slice(0, 8)} (${reason})`).join('; ') }),
    })),
    tables: gateway.table.inUse(),
    tableAgeSeconds: gateway.table.ageMs() / 1000,
    metrics: metrics.values(),
  }))
  const gateway: GatewayDeps = wireGateway({
    ...common,
    lasting: true,
    routing,
    guard,
    blobs: new FileBlobStore(join(dataDir, 'models')),
    jobs: {
      store: stores.jobs,
      wake: (canceled) => canceled === undefined ? void jobs.consumer?.wake() : jobs.consumer?.drop(canceled),
      ended: stopping.signal,
    },
    assets: fileAssets(ASSETS),
    reachRelay: (name) => name === relay.name ? relay.hub.send : undefined,
    reachUrl: upstream?.connect,
    sockets,
    secret: () => secret,
    localPools: () => relay.instance ? [relay.instance] : [],
    process: probe,
    relays: {
      async enrol(volunteer) {
        const retryAfterMs = joins.admit()
        if (retryAfterMs === 0) return await relay.enrol(volunteer)
        const reason = `Cannot enrol the worker: at most ${DEFAULTS.joinsPerSecond} may join a second`
        throw new RpcError('resource_exhausted', reason, { retryAfterMs })
      },
      connect(context, name) {
        if (name !== relay.name) {
          throw new RpcError('not_found', `Cannot open the socket: there is no relay "${name}" here (enrol again)`)
        }
        return upgrade(context, (link) => relay.accept(link))
      },
    },
  })
  jobs.consumer = gatewayConsumer(gateway, () => relay.hub.usable)
  void jobs.consumer.wake()
  const rpc = createRpcServing(gateway)
  const endStreams = () => {
    gateway.watch?.close()
    stopping.abort()
  }
  return {
    app: createGateway(gateway, rpc),
    local: {
      name: relay.name,
      send: relay.hub.send,
      enrol: async () => ({ ...await relay.enrol(), socket: new LocalSocket((link) => relay.accept(link)) }),
    },
    guard,
    rpc,
    store: stores.description,
    endStreams,
    async close() {
      probe.stop()
      endStreams()
      await jobs.consumer?.close(CONSUMER_GRACE_MS)
      await relay.close()
      sockets?.close()
      await upstream?.close()
      await stores.close()
    },
  }
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/

/** Keys once there are any; without any, loopback alone. */
async function chooseGuard({ host, env, dataDir, ownKey }: HostOptions): Promise<Guard> {
  const source = hostKeys(env, dataDir)
  if ((await source.load()).length > 0) {
    const load = async () => [...await source.load(), ...(ownKey ? [ownKey] : [])]
    return { mode: 'keys', ring: new KeyRing({ load }, systemClock) }
  }
  if (LOOPBACK.test(host)) return { mode: 'open' }
  throw new RpcError(
    'failed_precondition',
    `Cannot listen on ${host}: an address other than loopback requires an API key, got none (make one: npx shoal keys create --scope admin --data-dir ${dataDir})`,
  )
}
