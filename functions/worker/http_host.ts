import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { constantTimeEqual, toHex } from '../../shared/base/bytes.ts'
import { sleep, systemClock } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import type { Log } from '../../shared/base/log.ts'
import { Metrics } from '../../shared/base/metrics.ts'
import { newId } from '../../shared/base/random.ts'
import type { Send } from '../../shared/rpc/send.ts'
import { ServedSockets } from '../../shared/rpc/served_sockets.ts'
import { memoryOnce } from '../../shared/stores/once_store.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import type { AgentDeps } from '../../shared/worker/agent.ts'
import { cannotListen } from '../cannot_listen.ts'
import { nodeRpc } from '../gateway/node_rpc.ts'
import { drainOf } from '../node_drain.ts'
import { takeSockets } from '../node_upgrades.ts'
import { InProcessRelay } from '../relay/in_process.ts'
import { gatewayLeases } from './gateway_leases.ts'
import { LocalSocket } from '../relay/local_socket.ts'

export interface HttpHostOptions {
  host: string
  port: number
  /** How gateways reach this host; by default the address it listens on. */
  url?: string
  gateway: string
  /** Sent with each renewal of the lease. */
  headers: Readonly<Record<string, string>>
  zone?: string
  /** As in HubDeps. */
  spotCheckShare?: number
  log: Log
  /** Hears once gateways can call: it is registered, and has been given the token that they present. */
  onRegistered?(): void
}

export interface HttpHost {
  /** Where gateways call it. */
  url: string
  relay: InProcessRelay
  /** Over which gateways call it. */
  sockets: ServedSockets
  metrics: Metrics
  /** Enrols a worker of this process. */
  enrol: AgentDeps['enrol']
  /** Leaves the registry, and resolves when gateways have heard of it and call no more. */
  withdraw(): Promise<void>
  /** Leaves the registry, ends its workers' links, answers what has come and stops listening. */
  close(): Promise<void>
}

/** A gateway that has not called for so long has heard that this host is leaving, or has next to nothing to call it for. */
const QUIET_MS = 500

/** Addresses that nobody can call. */
const UNSPECIFIED = /^(0\.0\.0\.0|::|\[::\])$/

/**
 * A pool with an address of its own: the relay that else lives beside a gateway, its workers in this process, served
 * over HTTP to gateways that present the token they gave it when it registered. Registered while it has workers.
 * @throws RpcError `failed_precondition` if it cannot listen
 */
export async function startHttpHost(options: HttpHostOptions): Promise<HttpHost> {
  if (UNSPECIFIED.test(options.host) && options.url === undefined) {
    throw invalid(
      `Cannot register this host: --url must say how gateways reach it, since ${options.host} is everywhere`,
    )
  }
  let token: string | undefined
  const metrics = new Metrics()
  const ring = {
    async admit(authorization: string | null) {
      if (token === undefined) throw new RpcError('unavailable', 'Cannot accept the call: the host is registering')
      if (!constantTimeEqual(authorization ?? '', `Bearer ${token}`)) {
        throw new RpcError('unauthenticated', 'Cannot accept the call: the token of the gateway is required')
      }
      return 'gateway'
    },
  }
  // Whose call it is the gateway says in it: the token that lets the gateway in names nobody.
  const send: Send = (request) => relay.hub.send({ ...request, caller: undefined })
  const serve = nodeRpc({ mode: 'keys', ring }, { clock: systemClock, choose: () => send })
  const server = createServer({ keepAliveTimeout: DEFAULTS.keepAliveMs }, (incoming, outgoing) => {
    if (serve(incoming, outgoing)) return
    const alive = incoming.method === 'GET' && (incoming.url === '/livez' || incoming.url === '/readyz')
    const status = !alive ? 404 : incoming.url === '/livez' || relay.hub.populated ? 200 : 503
    outgoing.writeHead(status, { 'content-type': 'text/plain' }).end(status === 200 ? 'ok\n' : `${status}\n`)
  })
  const sockets = new ServedSockets({
    serve: (request) => relay.hub.send(request),
    clock: systemClock,
    token: () => token,
    open: false,
  })
  const drain = drainOf(server)
  const cutSockets = takeSockets(server, sockets)
  const port = await new Promise<number>((resolve, reject) => {
    server.once('error', (cause) => reject(cannotListen(options.host, options.port, cause)))
    server.listen(options.port, options.host, () => resolve((server.address() as AddressInfo).port))
  })
  const url = options.url ?? `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`
  const leases = gatewayLeases(options.gateway, options.headers, (given) => {
    token = given
    options.onRegistered?.()
  })
  const relay = new InProcessRelay({
    name: newId('host'),
    leases,
    once: memoryOnce(systemClock),
    // Tokens never leave this process.
    secret: toHex(crypto.getRandomValues(new Uint8Array(32))),
    address: { kind: 'url', url, sockets: true },
    zone: options.zone,
    spotCheckShare: options.spotCheckShare,
    clock: systemClock,
    random: Math.random,
    metrics,
    log: options.log,
  })
  return {
    url,
    relay,
    sockets,
    metrics,
    enrol: async () => ({ token: (await relay.enrol()).token, socket: new LocalSocket((link) => relay.accept(link)) }),
    async withdraw() {
      await relay.withdraw()
      sockets.leave()
      drain.leave()
      await sleep(systemClock, DEFAULTS.leaveGraceMs)
      await drain.quiet(QUIET_MS, DEFAULTS.drainMs)
    },
    async close() {
      await relay.close()
      await Promise.all([sockets.end(DEFAULTS.drainMs), drain.end(DEFAULTS.drainMs)])
      await drain.close(cutSockets)
    },
  }
}
