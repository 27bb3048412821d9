import { DEFAULTS } from '../base/defaults.ts'
import type { CallOutcome } from './breaker.ts'
import type { RpcRequest } from '../rpc/send.ts'
import type { ErrorCode, RpcError } from '../wire/errors.ts'

/**
 * What an outcome says of the instance.
 * - answered: it works, also where it answered that the caller asked for something impossible.
 * - refused: it works and wants fewer calls. It gets fewer, but is not at fault: to leave it out would load the rest more.
 * - failed: it is at fault.
 * - given up: nothing, for the caller did not wait long enough to tell.
 */
export type Verdict = 'answered' | 'refused' | 'failed' | 'given up'

/**
 * @param tookMs how long the caller had waited
 * @param usualMs what an answer of the service takes, 0 if unknown
 */
export function verdictOf({ code, retryAfterMs }: RpcError, tookMs: number, usualMs: number): Verdict {
  if (code === 'canceled') return 'given up'
  if (code === 'deadline_exceeded') return tookMs >= DEFAULTS.overdueFactor * usualMs ? 'failed' : 'given up'
  if (code === 'resource_exhausted') return 'refused'
  if (!FAULTS.has(code)) return 'answered'
  // Whoever can say when to come again is neither dead nor broken.
  return retryAfterMs === undefined ? 'failed' : 'refused'
}

/**
 * Safe to try elsewhere: nothing can have happened yet, or happening twice does no harm. An instance that lacks what the call
 * needs has not begun either, and another may have it.
 */
export function isRetryable({ code, neverSent }: RpcError, { idempotent }: RpcRequest): boolean {
  return (code === 'unavailable' && (neverSent || idempotent)) || (code === 'failed_precondition' && neverSent)
}

/**
 * Whether trying again must be paid for from the budget, which is there so that retries do not multiply the load on servers
 * that fail for having too much of it. A connection that nobody took gave no server anything to do: without a price, calls
 * that arrive stay within 1.2 times those made (and ten a second, and ten), and connections within maxAttempts times.
 */
export function costsRetry({ unanswered, neverSent }: RpcError): boolean {
  return !(unanswered && neverSent)
}

/** What the service's breaker hears of a call. */
export function outcomeOf(verdict: Verdict): CallOutcome {
  return verdict === 'answered' || verdict === 'failed' ? verdict : undefined
}

const FAULTS: ReadonlySet<ErrorCode> = new Set(['unavailable', 'internal', 'unknown', 'data_loss'])
