import { type Clock, sleep } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Metrics } from '../base/metrics.ts'
import type { LeasedInstance, LeaseStore } from '../stores/lease_store.ts'

export interface TableDeps {
  leases: Pick<LeaseStore, 'list'>
  clock: Clock
  metrics: Metrics
  log: Log
}

/** What is known of one service. */
interface Entry {
  revision: number
  instances: readonly LeasedInstance[]
  /** When the store last confirmed it, and when it was last read here. */
  confirmedAtMs: number
  readAtMs: number
  /** When the store last failed to answer; -Infinity once it did answer. */
  failedAtMs: number
  /** An instance did not answer: the store may know more by now. */
  doubted: boolean
}

/**
 * A caller's copy of the registry. Reads are answered from memory; a stale entry is refreshed beside the call that reads
 * it, and a very stale one before it. When the store is away, the last known instances go on serving and no call waits:
 * the copy is replaced by news, never emptied by silence. As long as nothing changes, a read gives the same list again.
 */
export class RegistryTable {
  readonly #deps: TableDeps
  /** In order of their last reading, the longest unread first. */
  readonly #entries = new Map<string, Entry>()
  readonly #refreshing = new Map<string, Promise<void>>()
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
    for (const { confirmedAtMs, readAtMs } of this.#entries.values()) {
      if (nowMs - readAtMs <= DEFAULTS.registryMaxStaleMs) oldest = Math.max(oldest, nowMs - confirmedAtMs)
    }
    return oldest
  }

  /** Live instances of a service, as far as is known. @throws RpcError `unavailable` if the store never answered */
  async instances(service: string): Promise<readonly LeasedInstance[]> {
    const entry = this.#read(service)
    if (!entry) {
      await this.#learn(service)
      return this.#read(service)?.instances ?? []
    }
    const ageMs = this.#deps.clock.now() - entry.confirmedAtMs
    if (!this.#isDue(entry, ageMs)) return entry.instances
    const refreshed = this.#refresh(service)
    // An empty table is worth waiting for, and so is news when what is known is old; but not for a store that is away.
    const worthWaiting = entry.instances.length === 0 || ageMs > DEFAULTS.registryMaxStaleMs
    if (worthWaiting && entry.failedAtMs === -Infinity) await this.#atMost(refreshed)
    return this.#entries.get(service)?.instances ?? entry.instances
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

  #read(service: string): Entry | undefined {
    const entry = this.#entries.get(service)
    if (!entry) return undefined
    entry.readAtMs = this.#deps.clock.now()
    this.#entries.delete(service)
    this.#entries.set(service, entry)
    return entry
  }

  #isDue(entry: Entry, ageMs: number): boolean {
    if (this.#deps.clock.now() - entry.failedAtMs < DEFAULTS.registryMinRefreshMs) return false
    return ageMs >= (entry.doubted ? DEFAULTS.registryMinRefreshMs : DEFAULTS.registryRefreshMs)
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
    const known = this.#entries.get(service)
    const nowMs = this.#deps.clock.now()
    try {
      const listing = await this.#deps.leases.list(service, known?.revision)
      this.#lastFailure = undefined
      // Confirmed as of the question: what changed while the answer was under way is not in it.
      const fresh = { revision: listing.revision, confirmedAtMs: nowMs, failedAtMs: -Infinity, doubted: false }
      if (known) Object.assign(known, fresh)
      const instances = 'unchanged' in listing ? known?.instances ?? [] : listing.instances
      if (known) known.instances = instances
      else this.#add(service, { ...fresh, instances, readAtMs: nowMs })
    } catch (thrown) {
      const atMs = this.#deps.clock.now()
      this.#lastFailure = { atMs, thrown }
      if (known) known.failedAtMs = atMs
      this.#deps.metrics.count('shoal_registry_refresh_failures_total')
      this.#deps.log('warn', 'registry refresh failed', { service, reason: String(thrown) })
      throw thrown
    }
  }

  /** Adds an entry, at the cost of the longest unread, of those without instances first: names that never existed. */
  #add(service: string, entry: Entry): void {
    if (this.#entries.size >= LIMITS.maxCachedServices) {
      let victim: string | undefined
      for (const [name, { instances }] of this.#entries) {
        victim ??= name
        if (instances.length > 0) continue
        victim = name
        break
      }
      if (victim !== undefined) this.#entries.delete(victim)
    }
    this.#entries.set(service, entry)
  }

  /** Waits for a refresh, but not so long that a slow store slows calls. */
  async #atMost(refreshed: Promise<void>): Promise<void> {
    const limit = new AbortController()
    await Promise.race([refreshed.catch(() => {}), sleep(this.#deps.clock, DEFAULTS.registryWaitMs, limit.signal).catch(() => {})])
    limit.abort()
  }
}
