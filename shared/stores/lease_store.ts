/**
 * The port behind the registry: instances under leases, with a revision that changes with every visible change.
 * Implementations: sqlite_store.ts and redis_store.ts, under one conformance suite.
 *
 * Incarnations are opaque: they cannot be compared, only recognised. So the order of lives is the order in which the
 * store first met them, and a life that is over stays over:
 * - A renewal under an incarnation never met before starts a new life (a restarted instance) and ends the one before.
 * - A renewal under an incarnation that was superseded, or that has left, is refused: a late beat of a zombie neither
 *   replaces its successor nor undoes a goodbye. To come back, an instance takes a new incarnation.
 * - A lease that ran out ends no life: the same incarnation comes back with its next beat, unless another came first.
 * - A goodbye counts only from the current life; from any other it is ignored.
 * Past lives are remembered while the instance is live and for DEFAULTS.lifeMemoryMs after. A store that lost its data
 * has lost them too, which is why whoever is called or given a result checks the incarnation again.
 */

/** How an instance is reached. `url`: plain HTTP. `relay`: a relay inside the deployment, by name. */
export type Address = { kind: 'url'; url: string } | { kind: 'relay'; name: string }

/** One running copy of a service. */
export interface Instance {
  /** Unique per running copy, chosen by the instance. */
  id: string
  service: string
  /** Semver. */
  version: string
  group: string
  address: Address
  /** Marks one life of the instance; a call or result of an older life is refused. */
  incarnation: string
  /** The lease: gone this long after its last beat. A whole number, at most LIMITS.maxLeaseMs. */
  ttlMs: number
  /** Relative capacity, 1 by default. */
  weight: number
  zone: string
}

export interface LeasedInstance extends Instance {
  /** Time since the last beat by the store's clock, when the table was read. */
  ageMs: number
}

/**
 * The table of a service in order of id, or the news that it has not changed since the revision asked about.
 *
 * A revision is the greater of its predecessor + 1 and the store's time in milliseconds, and 0 where the store knows
 * nothing of the service. A store that lost its data therefore starts above what it had given out before, and a cached
 * reader cannot mistake the new table for its own. Compare revisions for equality only: after a failover to a store
 * with a slower clock they may be lower than before.
 */
export type Listing = { revision: number; instances: LeasedInstance[] } | { revision: number; unchanged: true }

/** Every method throws RpcError `unavailable` when the store is out of reach or refuses. */
export interface LeaseStore {
  /**
   * Registers or renews a batch in one round trip. Each entry is the whole record, so that a beat restores one the
   * store has lost. The revision rises only if something a caller could see changed (not for a mere renewal).
   * @returns the entries refused because their life is over; their senders should stop, or start a new life
   * @throws RpcError `invalid_argument` for an entry outside LIMITS; nothing is written then
   */
  renew(instances: readonly Instance[]): Promise<Instance[]>
  /** Removes an instance at once and ends its life. A goodbye from an incarnation other than the current is ignored. */
  leave(service: string, id: string, incarnation: string): Promise<void>
  /** The live instances of a service. Expired leases are dropped first (which raises the revision). */
  list(service: string, sinceRevision?: number): Promise<Listing>
  /** Names of services that have live instances, sorted. */
  services(): Promise<string[]>
  /** Releases what the store itself opened; a connection passed to it stays its owner's to close. */
  close(): Promise<void>
}
