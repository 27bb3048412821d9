import { DEFAULTS } from '../base/defaults.ts'

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
 *
 * Suspects: beats come every third of a lease, give or take a fifth. An instance whose last beat is older than two thirds
 * of its lease is suspect. It stays listed, its `ageMs` tells, and the revision rises when it becomes suspect and when it
 * beats again, so that callers can prefer the others (shared/routing/suspects.ts).
 *
 * Self-preservation: when many fall silent at once, the store or the way to it is at fault rather than they (a store that
 * was stopped, a clock that leapt, a network that drops). So, for each service, at every renewal and listing:
 * - Counted are the instances that are not suspect, against those on the table. Renewals are short while that is less
 *   than 85 %.
 * - While renewals are short, and until they have not been for the length of one lease of the instance in question, its
 *   lease does not end: it is held back, listed with its age.
 * - One that has been held back for three leases is presumed dead, and no longer counted among those on the table. Hence
 *   eviction thaws one lease after enough of the others beat again, and the death of any part of a service, or all of it,
 *   shows after at most five leases.
 * - A goodbye is never held back.
 * - Time in which nobody beat or looked counts no longer than from one beat to the next at its latest: how a clock that
 *   leaps looks from inside, as often as it may leap. One that goes back takes what it has dated with it.
 * So one crash among seven instances or more shows when its lease is over; in a smaller service it freezes eviction, and
 * the instance stays listed, as a suspect, for up to four leases more.
 */

/** How long after its last beat an instance becomes suspect. */
export function suspectAfterMs(ttlMs: number): number {
  return Math.floor(ttlMs * DEFAULTS.relaySuspectMs / DEFAULTS.relayLeaseMs)
}

/** Two beats missed and more. */
export function isSuspect({ ageMs, ttlMs }: Pick<LeasedInstance, 'ageMs' | 'ttlMs'>): boolean {
  return ageMs >= suspectAfterMs(ttlMs)
}

/** The longest that passes from one beat of an instance to its next while all is well. */
export function longestBeatMs(ttlMs: number): number {
  return Math.ceil(ttlMs * LONGEST_BEAT_SHARE)
}

export const LONGEST_BEAT_SHARE = DEFAULTS.relayBeatMs * (1 + DEFAULTS.beatJitter) / DEFAULTS.relayLeaseMs

/**
 * How an instance is reached. `url`: plain HTTP and, where it says `sockets`, calls over a socket at `{url}/rpc` too.
 * `relay`: a relay inside the deployment, by name.
 */
export type Address = { kind: 'url'; url: string; sockets?: true } | { kind: 'relay'; name: string }

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
  /** The lease: over this long after its last beat. A whole number, at most LIMITS.maxLeaseMs. */
  ttlMs: number
  /** Relative capacity, 1 by default. */
  weight: number
  zone: string
  /** The key that registered it, for instances whose identity matters. Only gateways set it, and they show it to nobody. */
  owner?: string
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
 *
 * `recent` are the latest revisions of the service, this one last, as many as LIMITS.maxRecentRevisions: a reader whose
 * own lies between them without being one of them has heard what the store no longer knows.
 *
 * `readAtMs` is the store's time when it read the table, by which ages were told; it may leap.
 *
 * `bornAtMs` is when the store first heard of the service, by its own clock; absent where it never has. Another value
 * than before means that it has lost its data since: what is missing in its table may be alive.
 */
export type Listing =
  | { revision: number; instances: LeasedInstance[]; bornAtMs?: number; readAtMs?: number; recent?: readonly number[] }
  | { revision: number; unchanged: true }

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
  /** The instances of a service. Leases that are over end first, unless they are held back (see above). */
  list(service: string, sinceRevision?: number): Promise<Listing>
  /** Names of services that have instances whose lease lasts, sorted. */
  services(): Promise<string[]>
  /** Releases what the store itself opened; a connection passed to it stays its owner's to close. */
  close(): Promise<void>
}
