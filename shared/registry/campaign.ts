import { type Clock, sleep } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { type Log, silentLog } from '../base/log.ts'
import { fullJitterMs, jitter, newId, type Random } from '../base/random.ts'
import { abortError, untilAborted } from '../rpc/deadline.ts'
import type { ElectionStore } from '../stores/election_store.ts'
import { RpcError } from '../wire/errors.ts'
import { type CampaignClocks, HeldTerm, instantOf, type Term } from './term.ts'

export interface CampaignOptions {
  store: Pick<ElectionStore, 'acquire' | 'renew' | 'resign'>
  /** What is led: one candidate at a time leads it. */
  name: string
  /** How this campaign is known to the store; unguessed and unique by default. */
  candidate?: string
  /** The lease, DEFAULTS.electionLeaseMs by default. A crashed leader holds its successor up for as long. */
  ttlMs?: number
  /** Monotonic. */
  clock: Clock
  /** Follows the time of day, also while the machine sleeps and a monotonic clock may not. `Date` by default. */
  wall?: Pick<Clock, 'now'>
  random: Random
  /** Ends the campaign, and the term that it led to. */
  signal?: AbortSignal
  log?: Log
}

/**
 * Stands for election until elected, however long that takes; a store that is away is asked again.
 *
 * Of all candidates for a name at most one holds a term whose signal has not aborted, as long as the store keeps its data
 * and its clock does not gain more than DEFAULTS.electionMargin of a lease on the leader's while a lease lasts. The
 * leader stops by its own clock, counting from when it sent its last confirmed renewal. Code that is paused between
 * looking at the signal and writing cannot be stopped by anyone: what it writes must carry `term.epoch`, and what is
 * written to must refuse lower ones (shared/stores/fence.ts).
 * @throws RpcError the signal's reason once it aborts, or `invalid_argument` for a name or lease the store cannot take
 */
export async function campaign(options: CampaignOptions): Promise<Term> {
  const { store, name, clock, random, log = silentLog, ttlMs = DEFAULTS.electionLeaseMs } = options
  const candidate = options.candidate ?? newId('candidate')
  const clocks: CampaignClocks = { clock, wall: options.wall ?? Date }
  const signal = options.signal ?? new AbortController().signal
  const backOff = { baseMs: DEFAULTS.reconnectBaseMs, capMs: ttlMs / 3 }
  for (let failures = 0;;) {
    if (signal.aborted) throw abortError(signal.reason)
    const sentAt = instantOf(clocks)
    let waitMs: number
    try {
      const acquiring = store.acquire(name, candidate, ttlMs)
      // A term that begins after its campaign ended must not hold others up until its lease runs out.
      const late = (standing: Awaited<typeof acquiring>) =>
        signal.aborted && 'epoch' in standing ? store.resign(name, candidate, standing.epoch) : undefined
      acquiring.then(late).catch(() => {})
      const standing = await untilAborted(acquiring, signal)
      if ('epoch' in standing) {
        const term = new HeldTerm(
          { store, name, candidate, ttlMs, clocks, random, log, signal },
          standing.epoch,
          sentAt,
        )
        if (!term.signal.aborted) return term
        // The store took longer to answer than the lease lasts.
        void term.resign()
        waitMs = fullJitterMs(failures++, backOff, random)
      } else {
        failures = 0
        // The leader may resign at any time. Once it is overdue, not all who wait ask at the same instant.
        waitMs = Math.min(
          standing.heldForMs + random() * ttlMs / 30,
          jitter(ttlMs / 3, DEFAULTS.beatJitter, random),
        )
      }
    } catch (thrown) {
      const error = RpcError.from(thrown)
      if (signal.aborted || error.code === 'invalid_argument') throw error
      log('warn', 'standing for election failed', { name, reason: error.message })
      waitMs = fullJitterMs(failures++, backOff, random)
    }
    await sleep(clock, waitMs, signal).catch(() => {})
  }
}

/**
 * Stands again and again: each term is given to the loop's body, and ends with it at the latest. After a term was lost
 * the body should return soon (its signal has aborted); the campaign goes on when it does.
 */
export async function* terms(options: CampaignOptions): AsyncGenerator<Term, void, void> {
  const candidate = options.candidate ?? newId('candidate')
  for (;;) {
    await using term = await campaign({ ...options, candidate })
    yield term
  }
}
