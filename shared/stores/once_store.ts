import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../base/limits.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import { checkName } from './lease_record.ts'

/**
 * The port behind single-use tokens. Implementations: memoryOnce below, sqlite_once.ts and redis_once.ts, under one
 * conformance suite.
 */
export interface OnceStore {
  /**
   * Claims a key for `ttlMs`: true for exactly one caller until that time is over. If it throws, the key may have been
   * claimed all the same (the answer was lost), so the token is spent: never claim again in the hope of `true`.
   * @param key 1 to LIMITS.maxNameLength characters
   * @param ttlMs how long the token could still be used, over 0 and at most LIMITS.maxOnceMs; parts of one count whole
   * @throws RpcError `invalid_argument`, `unavailable`, or `resource_exhausted` if no more keys can be held
   */
  claim(key: string, ttlMs: number): Promise<boolean>
  /** Releases what the store itself opened. */
  close(): Promise<void>
}

/** Checks a claim's arguments and gives its time in whole milliseconds. */
export function checkClaim(key: string, ttlMs: number): number {
  checkName('single-use key', key)
  if (!(ttlMs > 0 && ttlMs <= LIMITS.maxOnceMs)) {
    throw invalid(`Cannot claim a single-use key: ttlMs must be over 0 and at most ${LIMITS.maxOnceMs}, got ${ttlMs}`)
  }
  return Math.ceil(ttlMs)
}

/** Keys in this process alone, lost with it. @param maxKeys live keys held at once, LIMITS.maxOnceKeys by default */
export function memoryOnce(clock: Pick<Clock, 'now'>, maxKeys: number = LIMITS.maxOnceKeys): OnceStore {
  const endsAtMs = new Map<string, number>()
  /** No key ends before this: a full store is not searched for room on every claim. */
  let firstEndMs = Infinity

  const sweep = (nowMs: number) => {
    firstEndMs = Infinity
    for (const [key, endMs] of endsAtMs) {
      if (endMs <= nowMs) endsAtMs.delete(key)
      else firstEndMs = Math.min(firstEndMs, endMs)
    }
  }

  return {
    async claim(key, ttlMs) {
      const lifeMs = checkClaim(key, ttlMs)
      const nowMs = clock.now()
      if ((endsAtMs.get(key) ?? 0) > nowMs) return false
      if (endsAtMs.size >= maxKeys && firstEndMs <= nowMs) sweep(nowMs)
      if (endsAtMs.size >= maxKeys && !endsAtMs.has(key)) {
        throw new RpcError(
          'resource_exhausted',
          `Cannot claim a single-use key: at most ${maxKeys} are held at once, got one more`,
          { retryAfterMs: Math.max(1, Math.ceil(firstEndMs - nowMs)) },
        )
      }
      endsAtMs.set(key, nowMs + lifeMs)
      firstEndMs = Math.min(firstEndMs, nowMs + lifeMs)
      return true
    },
    async close() {},
  }
}
