import { LIMITS } from '../base/limits.ts'
import { invalid } from '../wire/errors.ts'
import { checkName } from './lease_record.ts'

/**
 * The port behind elections: of the candidates for a name one leads, under a lease, and each term has an epoch of its
 * own. Implementations: sqlite_election.ts and redis_election.ts, under one conformance suite. Whoever leads uses
 * shared/registry/campaign.ts, which renews in time and says when to stop.
 *
 * An epoch is the greater of its predecessor + 1 and the store's time in milliseconds when the term began. So it rises
 * with every term, over expiry, resignation and restart; and a store that lost its data, or went back to an old
 * snapshot, starts above all it had given out, since time has passed.
 *
 * What remains: epochs go back if a store loses its data and its clock was set back too (or terms had followed each other
 * faster than one a millisecond). And a store that forgot who leads elects another at once, while the former leader
 * learns of it only with its next renewal, as does one whose lease a leap of the store's clock has ended. No store can
 * prevent that alone: the resource that leaders write to must refuse lower epochs itself (fence.ts).
 */
export interface ElectionStore {
  /**
   * Begins a term if no other candidate's lease lasts. The holder itself begins a new term too, at once: it asks because
   * it does not know its own any more, and what it wrote under the old epoch must be told apart.
   * @param candidate unique to one campaign: whoever shares it takes the term away
   * @param ttlMs the lease, a whole number from 1 to LIMITS.maxLeaseMs
   * @throws RpcError `unavailable`; a term may have begun all the same
   */
  acquire(name: string, candidate: string, ttlMs: number): Promise<Standing>
  /**
   * Prolongs the lease of a term to `ttlMs` from now.
   * @returns false if the term is over, for good: an expired lease is not revived though nobody took its place
   */
  renew(name: string, candidate: string, epoch: number, ttlMs: number): Promise<boolean>
  /** Ends a term at once. Does nothing if it is over already. */
  resign(name: string, candidate: string, epoch: number): Promise<void>
  /** Releases what the store itself opened. */
  close(): Promise<void>
}

export type Standing =
  | { epoch: number }
  /** Another leads, for at least this long unless it resigns. */
  | { heldForMs: number }

/** @throws RpcError `invalid_argument` */
export function checkStanding(name: string, candidate: string, ttlMs: number): void {
  checkTerm(name, candidate, 0)
  if (!Number.isInteger(ttlMs) || ttlMs < 1 || ttlMs > LIMITS.maxLeaseMs) {
    throw invalid(
      `Cannot stand for election: ttlMs must be a whole number from 1 to ${LIMITS.maxLeaseMs}, got ${ttlMs}`,
    )
  }
}

/** @throws RpcError `invalid_argument` */
export function checkTerm(name: string, candidate: string, epoch: number): void {
  checkName('election name', name)
  checkName('candidate', candidate)
  checkEpoch(epoch)
}

/** @throws RpcError `invalid_argument` */
export function checkEpoch(epoch: number): void {
  if (!Number.isSafeInteger(epoch) || epoch < 0) {
    throw invalid(`Cannot use this epoch: it must be a whole number not below 0, got ${epoch}`)
  }
}
