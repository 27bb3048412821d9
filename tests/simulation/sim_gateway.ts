import { sleep } from '../../shared/base/clock.ts'
import { silentLog } from '../../shared/base/log.ts'
import { Metrics } from '../../shared/base/metrics.ts'
import { preferZone } from '../../shared/registry/zones.ts'
import { RegistryTable } from '../../shared/registry/table.ts'
import { RegistryWatch } from '../../shared/registry/watch.ts'
import { createRouter } from '../../shared/routing/call.ts'
import { type Client, clientOver } from '../../shared/rpc/client.ts'
import { untilAborted } from '../../shared/rpc/deadline.ts'
import { NO_METADATA } from '../../shared/rpc/metadata.ts'
import type { RpcRequest, Send } from '../../shared/rpc/send.ts'
import type { LeasedInstance, LeaseStore } from '../../shared/stores/lease_store.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { Reader } from './observer.ts'
import { SimConnection } from './sim_connection.ts'
import { FALLBACK, OLDER_ALONE, Sim, VERSIONS } from './sim_contract.ts'
import type { SimInstance } from './sim_instance.ts'
import type { SimProcess } from './sim_process.ts'
import { storeOver } from './store_client.ts'
import type { World } from './world.ts'

export const CALL_TIMEOUT_MS = 5_000
/** What it takes to learn that nobody listens at an address out of reach. */
const CONNECT_TIMEOUT_MS = 1_000

/** A call to any version that is not meant to reach anybody. */
const QUESTION: Omit<RpcRequest, 'signal'> = {
  service: Sim.name,
  method: 'read',
  version: '',
  group: 'default',
  stream: false,
  idempotent: true,
  timeoutMs: CALL_TIMEOUT_MS,
  traceparent: '',
  metadata: NO_METADATA,
  payload: { codec: 'tensors', structure: null, parts: [] },
}

/** The real table, watch, router and client, put together as functions/gateway/wire.ts does, in a simulated process. */
export class SimGateway {
  readonly process: SimProcess
  readonly table: RegistryTable
  readonly metrics = new Metrics()
  readonly #world: World
  readonly #watch: RegistryWatch | undefined
  readonly #reader: Reader
  readonly #client: Client<typeof Sim>
  /** Asks for the older version alone. */
  readonly #olderClient: Client<typeof Sim>
  readonly #connections = new Map<SimInstance, SimConnection>()
  /** What the router was last given to choose from, before the suspects were left out. */
  #listed: readonly LeasedInstance[] = []
  /** While it is found out what the router may choose from: see #offered. */
  #asking: { eligible: readonly LeasedInstance[]; offered: Set<LeasedInstance> } | undefined
  readonly #route: Send
  /** Calls that ended with an error, by method. */
  readonly failed = { read: 0, write: 0 }

  constructor(world: World, name: string) {
    const { random, parts } = world
    this.#world = world
    this.process = world.process(name)
    this.#reader = {
      name,
      askedAtMs: -Infinity,
      asked: [],
      answeredAtMs: -Infinity,
      lossHeardAtMs: -Infinity,
      seen: new Set(),
      revision: 0,
      calls: 0,
      attempts: 0,
      bornAtMs: world.time.now(),
    }
    const zone = world.zoneOf(name)
    const common = { clock: this.process, random, metrics: this.metrics, log: silentLog }
    this.table = new RegistryTable({ ...common, leases: this.#watched(parts.reading(storeOver(world, this.process))) })
    // On some runtimes the process lives between calls, on others each call reads for itself.
    this.#watch = random() < 0.3 ? new RegistryWatch(this.table, this.process) : undefined
    this.#route = createRouter({
      ...common,
      instances: (service) => {
        if (this.#asking) return this.#asking.eligible
        const fresh = this.table.fresh(service)
        return fresh ? this.#eligible(fresh) : this.table.instances(service).then((listed) => this.#eligible(listed))
      },
      connect: (instance) => {
        if (!this.#asking) return this.#reach(instance)
        this.#asking.offered.add(instance)
        return undefined
      },
      near: (equals) => preferZone(equals, zone),
      policy: () => world.routing,
      caller: name,
      onUnreachable: (service) => this.table.invalidate(service),
    })
    const transport = { send: parts.route(this.#route), codec: 'msgpack' as const, close() {} }
    this.#client = clientOver(Sim, { transport, timeoutMs: CALL_TIMEOUT_MS, clock: this.process })
    const options = { transport, timeoutMs: CALL_TIMEOUT_MS, clock: this.process, version: OLDER_ALONE }
    this.#olderClient = clientOver(Sim, options)
  }

  get calls(): number {
    return this.#reader.calls
  }

  get attempts(): number {
    return this.#reader.attempts
  }

  /** Ids of the instances it last chose among. */
  known(): string[] {
    return this.#listed.map(({ id }) => id)
  }

  /** Makes a call. Never rejects: the observer sees how it ends. */
  async call(call: number, method: 'read' | 'write'): Promise<void> {
    const { observer, isVaried, random } = this.#world
    const isOlder = isVaried && random() < 0.2
    observer.onCall(this.#reader, call, method)
    try {
      const answer = await (isOlder ? this.#olderClient : this.#client)[method]({ call })
      const isFallback = answer.by === FALLBACK.by
      if (isFallback && !isOlder) this.failed[method]++
      if (isOlder && !isFallback && answer.by !== VERSIONS[0]) observer.violate('versions are as asked for', answer.by)
      observer.onAnswer(call, `by ${answer.by}`, isFallback ? undefined : answer.call)
    } catch (thrown) {
      const { code, message } = RpcError.from(thrown)
      // There may be no instance of the older one any more.
      if (!isOlder) this.failed[method]++
      observer.onAnswer(call, code === 'internal' ? `${code} ${message} ${(thrown as Error).stack}` : code, undefined)
    }
  }

  close(): void {
    this.#watch?.close()
    this.process.kill()
  }

  #eligible(listed: readonly LeasedInstance[]): readonly LeasedInstance[] {
    const eligible = this.#world.parts.eligible(listed)
    this.#listed = listed
    const { observer, routing } = this.#world
    observer.onEligible(this.#reader, listed, eligible, this.#world.liveNames())
    const offered = this.#offered(eligible)
    const isWell = (id: string) => this.#world.isWell(id, this.process.name)
    if (offered) observer.onOffered({ caller: this.#reader.name, listed, offered, subset: routing.subset, isWell })
    return eligible
  }

  /**
   * All that the router may choose from at this moment. It is asked through its own door, with a call for which no instance
   * can be reached, so that it tries one after the other. Undefined where the breaker lets nothing through besides.
   */
  #offered(eligible: readonly LeasedInstance[]): readonly LeasedInstance[] | undefined {
    const offered = new Set<LeasedInstance>()
    let hasAsked = false
    this.#asking = {
      offered,
      get eligible() {
        hasAsked = true
        return eligible
      },
    }
    // It has chosen by the time it returns: the table is at hand.
    this.#route({ ...QUESTION, signal: new AbortController().signal }).catch(() => {})
    this.#asking = undefined
    return hasAsked ? [...offered] : undefined
  }

  #reach(instance: LeasedInstance): Send {
    return async (request) => {
      this.#world.observer.onAttempt(this.#reader, instance, this.#listed)
      try {
        const connection = await this.#connect(instance, request.signal)
        return await connection.send(request)
      } catch (thrown) {
        this.#world.observer.onFailed(this.#reader, instance.id)
        throw thrown
      }
    }
  }

  async #connect({ id }: LeasedInstance, signal: AbortSignal): Promise<SimConnection> {
    const world = this.#world
    const target = world.listener(id)
    const known = target && this.#connections.get(target)
    if (known) return known
    const line = world.network.line(this.process.name, id)
    const waitMs = line.isCut ? CONNECT_TIMEOUT_MS : world.random() * line.maxDelayMs
    await untilAborted(sleep(this.process, waitMs, signal), signal)
    if (!target || target.process.isDead || line.isCut) {
      throw new RpcError('unavailable', 'Cannot connect: nobody answers', { neverSent: true })
    }
    // Another call may have connected meanwhile.
    let connection = this.#connections.get(target)
    if (!connection) {
      connection = new SimConnection(world, this.process, target, () => this.#connections.delete(target))
      this.#connections.set(target, connection)
    }
    return connection
  }

  #watched(leases: Pick<LeaseStore, 'list'>): Pick<LeaseStore, 'list'> {
    return {
      list: async (service, sinceRevision) => {
        const askedAtMs = this.#world.time.now()
        const listing = await leases.list(service, sinceRevision)
        this.#world.observer.onListed(this.#reader, askedAtMs, listing)
        return listing
      },
    }
  }
}
