import { atMost, type Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Metrics } from '../base/metrics.ts'
import type { LeasedInstance, LeaseStore } from '../stores/lease_store.ts'
import { type Known, reconcile } from './reconcile.ts'

export interface TableDeps {
  leases: Pick<LeaseStore, 'list'>
  clock: Clock
  metrics: Metrics
  log: Log
}

/** What is known of one service, and how it is used. */
interface Entry {
  known: Known
  /** When a call last read it; -Infinity if none has. */
  readAtMs: number
  /** When it last took its place in the order of reading. */
  placedAtMs: number
  /** When the store was last asked, whether or not it answered. */
  askedAtMs: number
  /** Whether the store failed when it was last asked. */
  failed: boolean
  /** An instance did not answer: the store may know more by now. */
  doubted: boolean
}

/** How exact the order of reading is. */
const REORDER_MS = 1_000

/** A service as this process sees it. */
export interface TableView {
  instances: readonly LeasedInstance[]
  /** How far behind the store it may be. */
  ageMs: number
}

/**
 * A caller's copy of the registry. Reads are answered from memory; a stale entry is refreshed beside the call that reads
 * it, and a very stale one before it. When the store is away, the last known instances go on serving and no call waits:
 * the copy is replaced by news, never emptied by silence. As long as nothing changes, a read gives the same list again.
 */
export class RegistryTable {
  readonly #deps: TableDeps
  /** In order of their last reading, to REORDER_MS, the longest unread first. */
  readonly #entries = new Map<string, Entry>()
  readonly #refreshing = new Map<string, Promise<void>>()
  readonly #listeners = new Set<(service: string) => void>()
  #lastFailure: { atMs: number; thrown: unknown } | undefined

  constructor(deps: TableDeps) {
    this.#deps = deps
    deps.metrics.gauge('shoal_registry_table_age_seconds', () => this.ageMs() / 1000)
  }

  /** Services held. */
  get size(): number {
    return this.#entries.size
  }

  /** Age of the oldest entry in use: how far behind the registry this copy may be. What nobody reads may grow old. */
  ageMs(): number {
    const nowMs = this.#deps.clock.now()
    let oldest = 0
    for (const { known, readAtMs } of this.#entries.values()) {
      if (nowMs - readAtMs <= DEFAULTS.registryMaxStaleMs) oldest = Math.max(oldest, nowMs - known.confirmedAtMs)
    }
    return oldest
  }

  /** What `instances` would give, if it is at hand and need not be asked for: callers then need not wait a turn. */
  fresh(service: string): readonly LeasedInstance[] | undefined {
    const nowMs = this.#deps.clock.now()
    const entry = this.#read(service, nowMs)
    if (!entry || this.#isDue(entry, nowMs) || this.#refreshing.has(service)) return undefined
    return entry.known.instances.length > 0 ? entry.known.instances : undefined
  }

  /** Live instances of a service, as far as is known. @throws RpcError `unavailable` if the store never answered */
  async instances(service: string): Promise<readonly LeasedInstance[]> {
    const entry = this.#read(service)
    if (!entry) {
      await this.#learn(service)
      return this.#read(service)?.known.instances ?? []
    }
    const { failed } = entry
    const refreshed = this.#isDue(entry) ? this.#refresh(service) : this.#refreshing.get(service)
    if (!refreshed) return entry.known.instances
    const ageMs = this.#deps.clock.now() - entry.known.confirmedAtMs
    // An empty table is worth waiting for, and so is news when what is known is old; but not for a store that is away.
    const worthWaiting = entry.known.instances.length === 0 || ageMs > DEFAULTS.registryMaxStaleMs
    if (worthWaiting && !failed) await this.#atMost(refreshed)
    return this.#entries.get(service)?.known.instances ?? entry.known.instances
  }

  /** A service without counting as a reader of it: for lists and watches. Undefined if the store never answered. */
  async view(service: string): Promise<TableView | undefined> {
    const before = this.#entries.get(service)
    if (!before || this.#isDue(before)) await this.#atMost(this.#refresh(service))
    const known = this.#entries.get(service)?.known
    return known && { instances: known.instances, ageMs: this.#deps.clock.now() - known.confirmedAtMs }
  }

  /** Calls `listener` whenever the instances of a service have changed. @returns ends that */
  onChange(listener: (service: string) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Services with instances that were read of late: worth keeping fresh between reads. */
  inUse(): string[] {
    const sinceMs = this.#deps.clock.now() - DEFAULTS.registryWatchMs
    const services: string[] = []
    for (const [service, { known, readAtMs }] of this.#entries) {
      if (readAtMs >= sinceMs && known.instances.length > 0) services.push(service)
    }
    return services
  }

  /** Asks the store if it was last asked long enough ago. @returns in how many milliseconds that will be so again */
  keepFresh(service: string): number {
    const entry = this.#entries.get(service)
    if (entry && !this.#isDue(entry)) return entry.askedAtMs + DEFAULTS.registryRefreshMs - this.#deps.clock.now()
    void this.#refresh(service)
    return DEFAULTS.registryRefreshMs
  }

  /** Makes the next read ask the store: an instance turned out to be gone. */
  invalidate(service: string): void {
    const entry = this.#entries.get(service)
    if (entry) entry.doubted = true
  }

  /** Asks for the first time, unless the store has just failed: callers choose names faster than it can fail. */
  async #learn(service: string): Promise<void> {
    const failure = this.#lastFailure
    if (failure && this.#deps.clock.now() - failure.atMs < DEFAULTS.registryMinRefreshMs) throw failure.thrown
    await this.#refresh(service)
  }

  #read(service: string, nowMs = this.#deps.clock.now()): Entry | undefined {
    const entry = this.#entries.get(service)
    if (!entry) return undefined
    entry.readAtMs = nowMs
    // The order need not be exact, and a Map that is rewritten with each call costs more than the rest of the reading.
    if (nowMs - entry.placedAtMs < REORDER_MS) return entry
    entry.placedAtMs = nowMs
    this.#entries.delete(service)
    this.#entries.set(service, entry)
    return entry
  }

  /** Due a while after the last question, answered or not: a store in trouble is not asked more often for it. */
  #isDue({ askedAtMs, doubted, failed }: Entry, nowMs = this.#deps.clock.now()): boolean {
    const waitMs = doubted && !failed ? DEFAULTS.registryMinRefreshMs : DEFAULTS.registryRefreshMs
    return nowMs - askedAtMs >= waitMs
  }

  /** One question to the store at a time for each service, however many calls want the answer. */
  #refresh(service: string): Promise<void> {
    let refreshing = this.#refreshing.get(service)
    if (!refreshing) {
      refreshing = this.#fetch(service).finally(() => this.#refreshing.delete(service))
      this.#refreshing.set(service, refreshing)
      // Nobody need wait for it. Who does not, must hold nothing of it: a Worker may not react for a request that is over.
      refreshing.catch(() => {})
    }
    return refreshing
  }

  async #fetch(service: string): Promise<void> {
    const { leases, clock, metrics, log } = this.#deps
    const entry = this.#entries.get(service)
    const askedAtMs = clock.now()
    if (entry) entry.askedAtMs = askedAtMs
    try {
      const listing = await leases.list(service, entry?.known.mustRead ? undefined : entry?.known.revision)
      this.#lastFailure = undefined
      // Confirmed as of the question: what changed while the answer was under way is not in it.
      const known = reconcile(entry?.known, listing, { askedAtMs, answeredAtMs: clock.now() })
      const hasChanged = known.instances !== entry?.known.instances
      if (entry) Object.assign(entry, { known, failed: false, doubted: false })
      else {this.#add(service, {
          known,
          readAtMs: -Infinity,
          placedAtMs: -Infinity,
          askedAtMs,
          failed: false,
          doubted: false,
        })}
      if (hasChanged) { for (const listener of this.#listeners) listener(service) }
    } catch (thrown) {
      this.#lastFailure = { atMs: clock.now(), thrown }
      if (entry) entry.failed = true
      metrics.count('shoal_registry_refresh_failures_total')
      log('warn', 'registry refresh failed', { service, reason: String(thrown) })
      throw thrown
    }
  }

  /** Adds an entry, at the cost of the longest unread, of those without instances first: names that never existed. */
  #add(service: string, entry: Entry): void {
    if (this.#entries.size >= LIMITS.maxCachedServices) {
      let victim: string | undefined
      for (const [name, { known }] of this.#entries) {
        victim ??= name
        if (known.instances.length > 0) continue
        victim = name
        break
      }
      if (victim !== undefined) this.#entries.delete(victim)
    }
    this.#entries.set(service, entry)
  }

  /** Waits for a refresh, but not so long that a slow store slows calls. */
  async #atMost(refreshed: Promise<void>): Promise<void> {
    await atMost(this.#deps.clock, DEFAULTS.registryWaitMs, refreshed)
  }
}
