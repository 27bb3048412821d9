import { LIMITS } from '../base/limits.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import { checkName } from './lease_record.ts'

/**
 * The port behind jobs: a durable queue that many producers and consumers share. Implementations: sqlite_jobs.ts and
 * redis_jobs.ts, under one conformance suite. What a job does and what came of it are texts that the store does not read.
 *
 * A job is given out under a lease, at least once, each time with a higher `attempt`. Its outcome is accepted from the
 * latest attempt alone, and once: whoever was given it before and comes back late is refused. A job whose lease ran out
 * waits a moment by chance (full jitter) before it is given out again: if it was what took its consumer down, those that
 * went down with it are not there the next time. What was submitted is kept
 * as durably as the store keeps anything, from the moment that `submit` has answered.
 */
export interface JobStore {
  /**
   * Queues all jobs of a batch or none. With an idempotency key that is known, nothing is queued: the answer names the
   * jobs of the first time.
   * @throws RpcError `already_exists` if the key was used with another fingerprint, `resource_exhausted` if the queue is
   *   full, `unavailable` if the batch may not be stored (or its answer was lost: submit again under the same key)
   */
  submit(batch: JobBatch): Promise<Submitted>
  /** Settles attempts and takes more, in one round trip: what a consumer does over and over. */
  exchange(request: Exchange): Promise<Exchanged>
  /** Prolongs leases. @returns for each whether it still holds: else the work is to be dropped, its outcome is not wanted */
  extend(claims: readonly Claim[], leaseMs: number): Promise<boolean[]>
  /** Jobs by id; undefined for those unknown or forgotten. */
  read(ids: readonly string[]): Promise<(JobState | undefined)[]>
  /** Cancels a job that is not over. @returns whether this call did */
  cancel(id: string): Promise<boolean>
  /** Queues a dead job again, with all of its attempts before it. @returns whether it was dead */
  retry(id: string): Promise<boolean>
  /** Ids of an owner's dead jobs, the latest first. */
  dead(owner: string, limit: number): Promise<string[]>
  /** Removes jobs that `exchange` said are to be forgotten, when their blobs are gone. */
  forget(ids: readonly string[]): Promise<void>
  /** Jobs that wait, and that are being worked on. */
  counts(): Promise<JobCounts>
  /** Releases what the store itself opened. */
  close(): Promise<void>
}

/** Who works on a job: `model` at the pace of pools, `function` at that of functions. */
export const LANES = ['model', 'function'] as const
export type Lane = (typeof LANES)[number]

/** Within a lane those of higher priority go first. */
export const JOB_PRIORITIES = ['high', 'normal', 'low'] as const
export type JobPriority = (typeof JOB_PRIORITIES)[number]

export interface NewJob {
  lane: Lane
  priority: JobPriority
  /** What is to be done. At most LIMITS.maxInlineJobBytes characters: longer ones lie in a blob that it names. */
  task: string
  /** Attempts that may fail before it is dead. */
  maxAttempts: number
  /** It is dead if it is not done after so long. */
  ttlMs: number
  /** How long what came of it is kept. */
  keepMs: number
  /** Whether it has blobs, which must be removed before it is forgotten. */
  hasBlobs: boolean
}

export interface JobBatch {
  /** A fresh id for each batch: that of its only job, or with `.0`, `.1` and so on behind it those of several. */
  id: string
  /** Who may see the jobs. */
  owner: string
  jobs: readonly NewJob[]
  /** An idempotency key, already told apart by owner, with a fingerprint of what was submitted under it. */
  key?: { name: string; fingerprint: string }
}

export interface Submitted {
  /** The id of the batch that was queued, now or under the same key before. */
  id: string
  count: number
  replayed: boolean
}

export interface Claim {
  id: string
  attempt: number
}

export type Outcome =
  & Claim
  & (
    | { kind: 'done'; result: string; hasBlobs: boolean }
    /** Failed for now; dead if no attempt is left. */
    | { kind: 'failed'; reason: string; delayMs: number }
    /** Not begun: given back, and no attempt is spent. */
    | { kind: 'released'; delayMs: number }
    /** Failed for good. */
    | { kind: 'dead'; reason: string }
  )

export interface Exchange {
  outcomes: readonly Outcome[]
  /** At most LIMITS.maxJobsTaken of each lane. */
  take: Readonly<Record<Lane, number>>
  leaseMs: number
}

export interface Exchanged {
  /** For each outcome, whether it was accepted. */
  accepted: boolean[]
  jobs: TakenJob[]
  /** Milliseconds until something falls due in the store by itself; undefined if nothing will. */
  dueInMs: number | undefined
  /** Jobs whose time is over and which have blobs: remove these, then `forget` them. */
  forgotten: string[]
}

export interface TakenJob extends Claim {
  lane: Lane
  owner: string
  task: string
  /** Attempts that have failed before. */
  failures: number
}

export type JobPhase = 'queued' | 'running' | 'done' | 'dead' | 'canceled'

export interface JobState {
  id: string
  owner: string
  state: JobPhase
  task: string
  priority: JobPriority
  attempt: number
  failures: number
  maxAttempts: number
  submittedAtMs: number
  /** When the latest attempt began. */
  startedAtMs?: number
  finishedAtMs?: number
  /** When it will be dead unless done, and once it is over, when it will be forgotten. */
  endsAtMs: number
  /** Of a job that is done. */
  result?: string
  /** Why the latest attempt failed, in the words of whoever worked on it. */
  reason?: string
}

export interface JobCounts {
  queued: number
  running: number
}

/** What the store itself has to say of jobs that no consumer spoke for, in the form of consumers' reasons. */
export const REASONS = {
  vanished: JSON.stringify({
    code: 'unavailable',
    message: 'Cannot finish the job: the consumer that worked on it vanished',
  }),
  overdue: JSON.stringify({
    code: 'deadline_exceeded',
    message: 'Cannot finish the job: its time was over before it was done',
  }),
} as const

export function rankOf(priority: JobPriority): number {
  return JOB_PRIORITIES.indexOf(priority)
}

/** The id of a job by its place in a batch. */
export function jobId(batch: string, index: number, count: number): string {
  return count === 1 ? batch : `${batch}.${index}`
}

/** @throws RpcError `invalid_argument` */
export function checkBatch({ id, owner, jobs, key }: JobBatch): void {
  checkName('job id', id)
  if (owner !== '') checkName('owner', owner)
  if (key) {
    checkName('idempotency key', key.name)
    checkName('fingerprint', key.fingerprint)
  }
  if (jobs.length < 1 || jobs.length > LIMITS.maxJobBatch) {
    throw invalid(`Cannot submit the jobs: a batch must have 1 to ${LIMITS.maxJobBatch}, got ${jobs.length}`)
  }
  for (const { task } of jobs) {
    if (task.length > LIMITS.maxInlineJobBytes || task.includes('\0')) {
      throw invalid(
        `Cannot submit the job: its task must be a text of at most ${LIMITS.maxInlineJobBytes} characters, got ${task.length}`,
      )
    }
  }
}

export function otherPayload(): RpcError {
  return new RpcError(
    'already_exists',
    'Cannot submit the jobs: their Idempotency-Key must come with the payload it first came with, got another',
  )
}

export function queueFull(queued: number): RpcError {
  return new RpcError(
    'resource_exhausted',
    `Cannot submit the jobs: at most ${LIMITS.maxQueuedJobs} may wait, and ${queued} do`,
    { retryAfterMs: 10_000, neverSent: true },
  )
}
