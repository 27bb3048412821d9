import type { DurableObjectStorage } from '@cloudflare/workers-types/index.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import type { Log } from '../../shared/base/log.ts'
import { newId } from '../../shared/base/random.ts'
import { Pool } from '../../shared/contracts/pool.ts'
import type { LeaseStore } from '../../shared/stores/lease_store.ts'

export interface DurableLeaseDeps {
  /** The relay's name, which is also its id in the registry. */
  name: string
  leases: Pick<LeaseStore, 'renew' | 'leave'>
  storage: Pick<DurableObjectStorage, 'kv'>
  log: Log
}

const INCARNATION = 'incarnation'

/**
 * A Durable Object's entry in the registry, which lasts as long as it has workers. One life may span many lives of the
 * object in memory, so its incarnation is kept in storage. A store that is away is tried again at the next beat.
 */
export class DurableLease {
  readonly #deps: DurableLeaseDeps
  /** Changes go to the store one after another: a leave must not overtake the beat before it. */
  #last: Promise<void> = Promise.resolve()

  constructor(deps: DurableLeaseDeps) {
    this.#deps = deps
  }

  /** Whether a life has begun and not ended, in this life of the object or an earlier one. */
  get held(): boolean {
    return this.#incarnation !== undefined
  }

  /** Begins a life and registers it. */
  enter(workers: number): Promise<void> {
    this.#deps.storage.kv.put(INCARNATION, newId('life'))
    return this.beat(workers)
  }

  /** Renews the lease, with the number of workers as its weight. Does nothing unless held. */
  beat(workers: number): Promise<void> {
    return this.#inTurn('heartbeat failed', async () => {
      const incarnation = this.#incarnation
      if (incarnation === undefined) return
      const refused = await this.#deps.leases.renew([this.#instance(incarnation, workers)])
      if (refused.length === 0 || this.#incarnation !== incarnation) return
      // The store holds this life to be over, but the workers are here: it takes a new one to come back.
      const next = newId('life')
      this.#deps.storage.kv.put(INCARNATION, next)
      await this.#deps.leases.renew([this.#instance(next, workers)])
    })
  }

  /** Ends the life at once. */
  leave(): Promise<void> {
    const incarnation = this.#incarnation
    if (incarnation === undefined) return this.#last
    this.#deps.storage.kv.delete(INCARNATION)
    return this.#inTurn(
      'leave failed; the lease will run out',
      () => this.#deps.leases.leave(Pool.name, this.#deps.name, incarnation),
    )
  }

  get #incarnation(): string | undefined {
    return this.#deps.storage.kv.get<string>(INCARNATION)
  }

  #inTurn(failure: string, work: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(work).catch((thrown) => this.#deps.log('warn', failure, { reason: String(thrown) }))
    return this.#last
  }

  #instance(incarnation: string, workers: number) {
    const { name } = this.#deps
    return {
      id: name,
      service: Pool.name,
      version: Pool.version,
      group: 'default',
      address: { kind: 'relay', name } as const,
      incarnation,
      ttlMs: DEFAULTS.durableRelayLeaseMs,
      weight: Math.max(1, workers),
      zone: '',
    }
  }
}
