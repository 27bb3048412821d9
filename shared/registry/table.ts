import type { Clock } from '../base/clock.ts'
import { sleep } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { Log } from '../base/log.ts'
import type { Metrics } from '../base/metrics.ts'
import type { LeasedInstance, LeaseStore } from '../stores/lease_store.ts'

export interface TableDeps {
  leases: Pick<LeaseStore, 'list'>
  clock: Clock
  metrics: Metrics
  log: Log
}

interface Entry {
  revision: number
  instances: readonly LeasedInstance[]
  /** When the store last confirmed it. */
  confirmedAtMs: number
  refreshing: Promise<void> | undefined
}

/**
 * A caller's copy of the registry. Reads are answered from memory; a stale entry is refreshed beside the call that reads
 * it, and a very stale one before it. When the store is away, the last known instances go on serving: the copy is
 * replaced by news, never emptied by silence.
 */
export class RegistryTable {
  readonly #deps: TableDeps
  readonly #entries = new Map<string, Entry>()

  constructor(deps: TableDeps) {
    this.#deps = deps
    deps.metrics.gauge('shoal_registry_table_age_seconds', () => this.ageMs() / 1000)
  }

  /** Age of the oldest entry: how far behind the registry this copy may be. */
  ageMs(): number {
    const nowMs = this.#deps.clock.now()
    let oldest = 0
    for (const entry of this.#entries.values()) oldest = Math.max(oldest, nowMs - entry.confirmedAtMs)
    return oldest
  }

  /** Live instances of a service, as far as is known. @throws RpcError `unavailable` if the store never answered */
  async instances(service: string): Promise<readonly LeasedInstance[]> {
    const entry = this.#entries.get(service)
    if (!entry) {
      await this.#refresh(service)
      return this.#entries.get(service)?.instances ?? []
    }
    const ageMs = this.#deps.clock.now() - entry.confirmedAtMs
    if (ageMs < DEFAULTS.registryRefreshMs) return entry.instances
    const refreshed = this.#refresh(service).catch(() => {})
    // An empty table is worth waiting for, and so is news when what is known is old.
    if (entry.instances.length === 0 || ageMs > DEFAULTS.registryMaxStaleMs) await this.#atMost(refreshed)
    return this.#entries.get(service)?.instances ?? []
  }

  /** Drops an entry's freshness, so that the next read asks the store: used when an instance turned out to be gone. */
  invalidate(service: string): void {
    const entry = this.#entries.get(service)
    if (entry) entry.confirmedAtMs -= DEFAULTS.registryRefreshMs
  }

  #refresh(service: string): Promise<void> {
    const entry = this.#entries.get(service)
    if (entry?.refreshing) return entry.refreshing
    const refreshing = this.#fetch(service, entry).finally(() => {
      const latest = this.#entries.get(service)
      if (latest) latest.refreshing = undefined
    })
    if (entry) entry.refreshing = refreshing
    return refreshing
  }

  async #fetch(service: string, known: Entry | undefined): Promise<void> {
    try {
      const listing = await this.#deps.leases.list(service, known?.revision)
      const instances = 'unchanged' in listing ? known?.instances ?? [] : listing.instances
      const confirmedAtMs = this.#deps.clock.now()
      const refreshing = this.#entries.get(service)?.refreshing
      this.#entries.set(service, { revision: listing.revision, instances, confirmedAtMs, refreshing })
    } catch (thrown) {
      this.#deps.metrics.count('shoal_registry_refresh_failures_total')
      this.#deps.log('warn', 'registry refresh failed', { service, reason: String(thrown) })
      throw thrown
    }
  }

  /** Waits for a refresh, but not so long that a slow store slows calls. */
  async #atMost(refreshed: Promise<void>): Promise<void> {
    const limit = new AbortController()
    await Promise.race([refreshed, sleep(this.#deps.clock, DEFAULTS.registryWaitMs, limit.signal).catch(() => {})])
    limit.abort()
  }
}
