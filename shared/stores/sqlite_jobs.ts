import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { fullJitterMs, type Random } from '../base/random.ts'
import { LIMITS } from '../base/limits.ts'
import {
  checkBatch,
  type Exchange,
  type Exchanged,
  type JobBatch,
  jobId,
  type JobStore,
  type Lane,
  LANES,
  otherPayload,
  type Outcome,
  queueFull,
  rankOf,
  REASONS,
  type Submitted,
  type TakenJob,
} from './job_store.ts'
import { SqliteFile } from './sqlite_file.ts'
import {
  type ClaimedRow,
  type EndedRow,
  type JobRow,
  type KeyRow,
  prepare,
  SCHEMA,
  stateOf,
  type TakenRow,
  TENDED,
} from './sqlite_job_table.ts'

/**
 * Jobs in a SQLite file, which may be that of the leases and may be shared by several processes. What was acknowledged
 * outlives a power cut.
 * @param path a file in an existing directory, or ':memory:'
 * @param clock one that follows wall time, such as `Date`: it is compared across restarts and processes
 * @throws RpcError `unavailable` if the file cannot be opened
 */
export function openSqliteJobs(path: string, clock: Pick<Clock, 'now'>, random: Random = Math.random): JobStore {
  const file = new SqliteFile(path, SCHEMA, 'nothing')
  const sql = prepare(file)
  const now = () => Math.floor(clock.now())

  function submit({ id, owner, jobs, key }: JobBatch, nowMs: number): Submitted {
    sql.forgetKeys.run(nowMs)
    const known = key && sql.readKey.get(key.name) as unknown as KeyRow | undefined
    if (known) {
      if (known.fingerprint !== key.fingerprint) throw otherPayload()
      return { id: known.batch, count: known.count, replayed: true }
    }
    const { waiting } = sql.waiting.get(LIMITS.maxQueuedJobs + 1) as { waiting: number }
    if (waiting + jobs.length > LIMITS.maxQueuedJobs) throw queueFull(waiting)
    let lastEndMs = 0
    for (const [i, job] of jobs.entries()) {
      const { lane, priority, task, maxAttempts, ttlMs, keepMs, hasBlobs } = job
      const name = jobId(id, i, jobs.length)
      const endsAtMs = nowMs + ttlMs
      const rank = rankOf(priority)
      sql.insert.run(name, owner, lane, rank, task, maxAttempts, keepMs, Number(hasBlobs), nowMs, endsAtMs, ttlMs)
      lastEndMs = Math.max(lastEndMs, endsAtMs + keepMs)
    }
    if (key) sql.putKey.run(key.name, key.fingerprint, id, jobs.length, lastEndMs)
    return { id, count: jobs.length, replayed: false }
  }

  function settle(outcome: Outcome, nowMs: number): boolean {
    const job = sql.claimed.get(outcome.id, outcome.attempt) as unknown as ClaimedRow | undefined
    if (!job) return false
    const { kind, id } = outcome
    if (kind === 'done') {
      sql.finish.run('done', nowMs, nowMs + job.keep_ms, outcome.result, null, Number(outcome.hasBlobs), id)
    } else if (kind === 'released') sql.putBack.run(nowMs + outcome.delayMs, job.failures, null, id)
    else if (kind === 'dead') bury(job, job.failures + 1, outcome.reason, nowMs)
    else fail(job, outcome.reason, outcome.delayMs, nowMs)
    return true
  }

  function fail(job: ClaimedRow, reason: string, delayMs: number, nowMs: number): void {
    const failures = job.failures + 1
    if (failures >= job.max_attempts) bury(job, failures, reason, nowMs)
    else sql.putBack.run(nowMs + delayMs, failures, reason, job.id)
  }

  function bury({ id }: Pick<ClaimedRow, 'id'>, failures: number, reason: string, nowMs: number): void {
    sql.bury.run(nowMs, nowMs + DEFAULTS.deadJobMs, failures, reason, id)
  }

  /** Whatever has fallen due by itself. @returns jobs to be forgotten that have blobs */
  function tend(nowMs: number): string[] {
    for (const job of sql.vanished.all(nowMs) as unknown as ClaimedRow[]) {
      fail(job, REASONS.vanished, Math.floor(fullJitterMs(job.failures, RETRY, random)), nowMs)
    }
    sql.ripen.run(nowMs)
    const forgotten: string[] = []
    for (const { id, state, failures, has_blobs } of sql.ended.all(nowMs, TENDED) as unknown as EndedRow[]) {
      if (state !== 'done' && state !== 'dead' && state !== 'canceled') bury({ id }, failures, REASONS.overdue, nowMs)
      else if (has_blobs) forgotten.push(id)
      else sql.remove.run(id)
    }
    return forgotten
  }

  function take(lane: Lane, max: number, leaseMs: number, nowMs: number): TakenJob[] {
    if (max <= 0) return []
    const rows = sql.take.all(lane, Math.min(max, LIMITS.maxJobsTaken)) as unknown as TakenRow[]
    return rows.map(({ id, owner, task, attempt, failures }) => {
      sql.begin.run(nowMs, nowMs + leaseMs, id)
      return { id, owner, task, lane, attempt: attempt + 1, failures }
    })
  }

  function exchange({ outcomes, take: wanted, leaseMs }: Exchange, nowMs: number): Exchanged {
    const accepted = outcomes.map((outcome) => settle(outcome, nowMs))
    const forgotten = tend(nowMs)
    const jobs = LANES.flatMap((lane) => take(lane, wanted[lane], leaseMs, nowMs))
    const { due } = sql.nextDue.get() as { due: number | null }
    return { accepted, jobs, dueInMs: due === null ? undefined : Math.max(0, due - nowMs), forgotten }
  }

  return {
    async submit(batch) {
      checkBatch(batch)
      return file.write(() => submit(batch, now()))
    },
    async exchange(request) {
      // Reading alone waits for no other writer, and no disk: what an idle consumer does.
      const nowMs = now()
      const { outcomes, take: wanted } = request
      const isIdle = outcomes.length === 0 && file.read(() => {
        const { due } = sql.nextDue.get() as { due: number | null }
        return (due === null || due > nowMs) && LANES.every((lane) => wanted[lane] <= 0 || !sql.take.get(lane, 1))
      })
      if (!isIdle) return file.write(() => exchange(request, now()))
      const { due } = sql.nextDue.get() as { due: number | null }
      return { accepted: [], jobs: [], dueInMs: due === null ? undefined : Math.max(0, due - nowMs), forgotten: [] }
    },
    async extend(claims, leaseMs) {
      const nowMs = now()
      return file.write(() => claims.map(({ id, attempt }) => sql.extend.run(nowMs + leaseMs, id, attempt).changes > 0))
    },
    async read(ids) {
      return file.read(() =>
        ids.map((id) => {
          const row = sql.read.get(id) as unknown as JobRow | undefined
          return row && stateOf(row)
        })
      )
    },
    async cancel(id) {
      const nowMs = now()
      return file.write(() => sql.cancel.run(nowMs, nowMs, id).changes > 0)
    },
    async retry(id) {
      const nowMs = now()
      return file.write(() => sql.retry.run(nowMs, id).changes > 0)
    },
    async dead(owner, limit) {
      return file.read(() => (sql.dead.all(owner, limit) as unknown as { id: string }[]).map(({ id }) => id))
    },
    async forget(ids) {
      if (ids.length > 0) file.write(() => ids.forEach((id) => sql.forget.run(now(), id)))
    },
    async counts() {
      return file.read(() => {
        const rows = sql.counts.all() as unknown as { state: string; jobs: number }[]
        const of = (state: string) => rows.find((row) => row.state === state)?.jobs ?? 0
        return { queued: of('queued') + of('delayed'), running: of('running') }
      })
    },
    async close() {
      file.close()
    },
  }
}

const RETRY = { baseMs: DEFAULTS.jobRetryBaseMs, capMs: DEFAULTS.jobRetryCapMs }
