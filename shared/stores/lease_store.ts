/**
 * The port behind the registry: instances under leases, with a revision that rises with every visible change.
 * Implementations: sqlite_store.ts and redis_store.ts, under one conformance suite.
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
  /** The lease: gone this long after its last beat. */
  ttlMs: number
  /** Relative capacity, 1 by default. */
  weight: number
  zone: string
}

export interface LeasedInstance extends Instance {
  /** Time since the last beat by the store's clock, when the table was read. */
  ageMs: number
}

/** The table of a service, or the news that it has not changed since the revision asked about. */
export type Listing = { revision: number; instances: LeasedInstance[] } | { revision: number; unchanged: true }

export interface LeaseStore {
  /**
   * Registers or renews a batch in one round trip. Each entry is the whole record, so that a beat restores one the
   * store has lost. The revision rises only if something a caller could see changed (not for a mere renewal).
   */
  renew(instances: readonly Instance[]): Promise<void>
  /** Removes an instance at once. An older incarnation than the one stored is left alone. */
  leave(service: string, id: string, incarnation: string): Promise<void>
  /** The live instances of a service. Expired leases are dropped first (which raises the revision). */
  list(service: string, sinceRevision?: number): Promise<Listing>
  /** Names of services that have live instances. */
  services(): Promise<string[]>
  close(): Promise<void>
}
