import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { fullJitterMs, type Random } from '../base/random.ts'
import type { BlobStore } from '../models/blob_store.ts'
import { Deadline, untilAborted } from '../rpc/deadline.ts'
import { inCodec } from '../rpc/http.ts'
import type { RpcRequest, Send } from '../rpc/send.ts'
import type { Outcome, TakenJob } from '../stores/job_store.ts'
import { type ErrorCode, RpcError } from '../wire/errors.ts'
import { blobPrefix, type JobTask, keep, recall } from './job_task.ts'

export interface AttemptDeps {
  blobs: BlobStore
  /** Does a job's call. @param owner whose job it is; '' where callers are not told apart */
  send(request: RpcRequest, owner: string): ReturnType<Send>
  clock: Clock
  random: Random
}

/** A call that failed with one of these fails the same way the next time. */
const FINAL: ReadonlySet<ErrorCode> = new Set([
  'invalid_argument',
  'already_exists',
  'permission_denied',
  'failed_precondition',
  'out_of_range',
  'unimplemented',
  'data_loss',
  'unauthenticated',
])

/** Makes a job's call, keeps its result, and says what is to become of the job. Never rejects. */
export async function makeAttempt(deps: AttemptDeps, job: TakenJob, signal: AbortSignal): Promise<Outcome> {
  const { id, attempt } = job
  try {
    const result = await call(deps, job, signal)
    const kept = await keep(result, deps.blobs, resultKey(id, attempt))
    return { id, attempt, kind: 'done', result: JSON.stringify(kept), hasBlobs: 'blob' in kept }
  } catch (thrown) {
    return failed(job, RpcError.from(thrown), deps.random)
  }
}

async function call(deps: AttemptDeps, job: TakenJob, signal: AbortSignal) {
  const { params, timeoutMs, ...task } = JSON.parse(job.task) as JobTask
  const payload = await recall(params, deps.blobs)
  using deadline = new Deadline(deps.clock, timeoutMs, signal)
  const answer = deps.send({
    ...task,
    stream: false,
    // Whether a job is tried again is decided here, and at this layer alone.
    idempotent: false,
    timeoutMs,
    signal: deadline.signal,
    // Who does it may be asked again, if its answer is lost: with this it can tell.
    metadata: { 'x-idempotency-key': job.id, 'x-shoal-attempt': String(job.attempt) },
    payload,
  }, job.owner)
  const response = await untilAborted(answer, deadline.signal)
  if (response.kind !== 'unary') throw new RpcError('unimplemented', 'Cannot finish the job: its method is streaming')
  return inCodec(response.payload, payload.codec)
}

/** Tries by which the time between them has come to its cap. */
const LONG_TRIES = 10

function failed({ id, attempt, failures }: TakenJob, error: RpcError, random: Random): Outcome {
  const { code, message } = error
  const reason = JSON.stringify({ code, message: message.slice(0, LIMITS.maxErrorLength).toWellFormed() })
  // Those that are there are not up to it (a model too large for them, a version that is not deployed): others may come, but
  // not within seconds.
  const isLacking = code === 'failed_precondition' && error.neverSent
  if (FINAL.has(code) && !isLacking) return { id, attempt, kind: 'dead', reason }
  const jitteredMs = (tries: number) =>
    fullJitterMs(tries, { baseMs: DEFAULTS.jobRetryBaseMs, capMs: DEFAULTS.jobRetryCapMs }, random)
  // There was no room, or nobody there: it was not begun, so no attempt is spent.
  const notBegun = code === 'resource_exhausted' || (code === 'unavailable' && error.neverSent)
  if (notBegun) return { id, attempt, kind: 'released', delayMs: error.retryAfterMs ?? jitteredMs(0) }
  return { id, attempt, kind: 'failed', reason, delayMs: jitteredMs(isLacking ? LONG_TRIES : failures) }
}

/** Where the result of an attempt is kept: each has its own. */
export function resultKey(id: string, attempt: number): string {
  return `${blobPrefix(id)}result.${attempt}`
}
