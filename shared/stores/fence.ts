import { LIMITS } from '../base/limits.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import { checkEpoch } from './election_store.ts'
import { checkName } from './lease_record.ts'

/**
 * The guard at a resource that leaders write to. An election alone cannot keep a leader from writing late: it may be
 * paused between looking at its lease and writing, for longer than the lease lasts. So each write brings the epoch of its
 * term, and the resource refuses those below the highest it has seen. Implementations: sqlite_fence.ts, redis_fence.ts.
 */
export interface FenceGuard {
  /**
   * Lets a leader pass, and from then on none of an earlier term. Durable once it has answered.
   * What is written afterwards, in a step of its own, may still be late: a resource that can check and write in one step
   * should, as `put` does.
   * @throws RpcError `aborted` if a later term has been here
   */
  admit(name: string, epoch: number): Promise<void>
}

/** A small value behind a guard: a pointer to the latest checkpoint, a run's step. */
export interface FencedStore extends FenceGuard {
  /**
   * Writes the value if no later term has been here: check and write are one step.
   * @param value at most LIMITS.maxControlBytes characters
   * @throws RpcError `aborted` if a later term has been here
   */
  put(name: string, epoch: number, value: string): Promise<void>
  /** The highest epoch that was admitted, and what was written last, if anything was. */
  get(name: string): Promise<Fenced | undefined>
  /** Releases what the store itself opened. */
  close(): Promise<void>
}

export interface Fenced {
  epoch: number
  value: string | undefined
}

/** The store as one leader may use it: all it does carries the epoch of its term. */
export function fenced(store: Pick<FencedStore, 'admit' | 'put'>, epoch: number) {
  return {
    admit: (name: string) => store.admit(name, epoch),
    put: (name: string, value: string) => store.put(name, epoch, value),
  }
}

/** @throws RpcError `invalid_argument` */
export function checkFenced(name: string, epoch: number, value?: string): void {
  checkName('fenced name', name)
  checkEpoch(epoch)
  if (value === undefined) return
  if (value.length > LIMITS.maxControlBytes || !value.isWellFormed() || value.includes('\0')) {
    throw invalid(
      `Cannot put "${name}": the value must be Unicode text without NUL of at most ${LIMITS.maxControlBytes} characters, got ${value.length}`,
    )
  }
}

export function superseded(name: string, epoch: number, highest: number): RpcError {
  return new RpcError(
    'aborted',
    `Cannot write to "${name}": its leader must be of epoch ${highest} or later, got ${epoch}`,
  )
}
