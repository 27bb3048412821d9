import type { Clock } from '../../shared/base/clock.ts'
import type { Instance, LeaseStore, Listing } from '../../shared/stores/lease_store.ts'
import { openSqliteLeases } from '../../shared/stores/sqlite_store.ts'

type Operation = (leases: LeaseStore) => Promise<unknown>

/**
 * The real lease store of SQLite, under virtual time, with what stores do besides: lose what was written last, go back
 * to an old snapshot, start empty, be away, have a clock that leaps. It goes back by repeating its past up to then.
 */
export class SimStore implements Pick<LeaseStore, 'renew' | 'leave' | 'list'> {
  readonly #time: Clock
  readonly #past: { atMs: number; storeMs: number; operation: Operation }[] = []
  #leases: LeaseStore
  #offsetMs = 0
  #replayMs: number | undefined
  isUp = true

  constructor(time: Clock) {
    this.#time = time
    this.#leases = this.#open()
  }

  renew(instances: readonly Instance[]): Promise<Instance[]> {
    return this.#do((leases) => leases.renew(instances))
  }

  leave(service: string, id: string, incarnation: string): Promise<void> {
    return this.#do((leases) => leases.leave(service, id, incarnation))
  }

  list(service: string, sinceRevision?: number): Promise<Listing> {
    return this.#do((leases) => leases.list(service, sinceRevision))
  }

  /** Sets the store's clock forward, or back where `byMs` is below 0. */
  leap(byMs: number): void {
    this.#offsetMs += byMs
  }

  /** Forgets all that was written from then on. */
  async goBackTo(atMs: number): Promise<void> {
    await this.#leases.close()
    const kept = this.#past.filter((one) => one.atMs < atMs)
    this.#past.length = 0
    this.#past.push(...kept)
    this.#leases = this.#open()
    for (const { storeMs, operation } of this.#past) {
      this.#replayMs = storeMs
      // Done when it returns: SQLite's work is synchronous.
      operation(this.#leases).catch(() => {})
    }
    this.#replayMs = undefined
  }

  close(): Promise<void> {
    return this.#leases.close()
  }

  #do<T>(operation: (leases: LeaseStore) => Promise<T>): Promise<T> {
    this.#past.push({ atMs: this.#time.now(), storeMs: this.#nowMs(), operation })
    return operation(this.#leases)
  }

  #nowMs(): number {
    return this.#replayMs ?? this.#time.now() + this.#offsetMs
  }

  #open(): LeaseStore {
    return openSqliteLeases(':memory:', { now: () => this.#nowMs() })
  }
}
