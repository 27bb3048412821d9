import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { fullJitterMs, type Random } from '../base/random.ts'
import { LIMITS } from '../base/limits.ts'
import {
  checkBatch,
  type Exchange,
  type Exchanged,
  JOB_PRIORITIES,
  type JobBatch,
  jobId,
  type JobPhase,
  type JobState,
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

/**
 * `state` has one more value than callers see: 'delayed' is queued, but not yet due. `due_at_ms` is when that changes, or
 * when the lease of a running job ends. `ends_at_ms` is when a job must be done, and once it is over, when it is forgotten.
 */
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, lane TEXT NOT NULL, rank INTEGER NOT NULL,
    task TEXT NOT NULL, max_attempts INTEGER NOT NULL, keep_ms INTEGER NOT NULL, has_blobs INTEGER NOT NULL,
    state TEXT NOT NULL, attempt INTEGER NOT NULL, failures INTEGER NOT NULL,
    submitted_at_ms INTEGER NOT NULL, started_at_ms INTEGER, finished_at_ms INTEGER,
    due_at_ms INTEGER, ends_at_ms INTEGER NOT NULL, ttl_ms INTEGER NOT NULL, result TEXT, reason TEXT
  );
  CREATE INDEX IF NOT EXISTS jobs_queued ON jobs (lane, rank, seq) WHERE state = 'queued';
  CREATE INDEX IF NOT EXISTS jobs_due ON jobs (due_at_ms) WHERE state IN ('delayed', 'running');
  CREATE INDEX IF NOT EXISTS jobs_dead ON jobs (owner, finished_at_ms) WHERE state = 'dead';
  CREATE INDEX IF NOT EXISTS jobs_end ON jobs (ends_at_ms);
  CREATE TABLE IF NOT EXISTS job_keys (
    name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, batch TEXT NOT NULL, count INTEGER NOT NULL, ends_at_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS job_keys_end ON job_keys (ends_at_ms);
`

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
/** Jobs whose time is over that one exchange looks after: more wait for the next. */
const TENDED = 200

function prepare(file: SqliteFile) {
  const claim = 'SELECT id, failures, max_attempts, keep_ms FROM jobs'
  return {
    readKey: file.prepare('SELECT fingerprint, batch, count FROM job_keys WHERE name = ?'),
    putKey: file.prepare('INSERT INTO job_keys (name, fingerprint, batch, count, ends_at_ms) VALUES (?, ?, ?, ?, ?)'),
    forgetKeys: file.prepare('DELETE FROM job_keys WHERE ends_at_ms <= ?'),
    // Counts no further than it must: an index of a million entries is not read for every submission.
    waiting: file.prepare(`SELECT COUNT(*) AS waiting FROM (SELECT 1 FROM jobs WHERE state = 'queued' LIMIT ?)`),
    insert: file.prepare(
      `INSERT INTO jobs (id, owner, lane, rank, task, max_attempts, keep_ms, has_blobs, state, attempt,
      failures, submitted_at_ms, ends_at_ms, ttl_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'queued', 0, 0, ?, ?, ?)`,
    ),
    claimed: file.prepare(`${claim} WHERE id = ? AND attempt = ? AND state = 'running'`),
    finish: file.prepare(`UPDATE jobs SET state = ?, finished_at_ms = ?, due_at_ms = NULL, ends_at_ms = ?, result = ?,
      reason = ?, has_blobs = has_blobs OR ? WHERE id = ?`),
    putBack: file.prepare(`UPDATE jobs SET state = 'delayed', due_at_ms = ?, failures = ?, reason = COALESCE(?, reason)
      WHERE id = ?`),
    bury: file.prepare(
      `UPDATE jobs SET state = 'dead', due_at_ms = NULL, finished_at_ms = ?, ends_at_ms = ?, failures = ?,
      reason = ? WHERE id = ?`,
    ),
    vanished: file.prepare(`${claim} WHERE state = 'running' AND due_at_ms <= ? LIMIT ${TENDED}`),
    ripen: file.prepare(
      `UPDATE jobs SET state = 'queued', due_at_ms = NULL WHERE state = 'delayed' AND due_at_ms <= ?`,
    ),
    ended: file.prepare('SELECT id, state, failures, has_blobs FROM jobs WHERE ends_at_ms <= ? LIMIT ?'),
    remove: file.prepare('DELETE FROM jobs WHERE id = ?'),
    forget: file.prepare(`DELETE FROM jobs WHERE ends_at_ms <= ? AND id = ? AND state IN ('done', 'dead', 'canceled')`),
    take: file.prepare(`SELECT id, owner, task, attempt, failures FROM jobs WHERE state = 'queued' AND lane = ?
      ORDER BY rank, seq LIMIT ?`),
    begin: file.prepare(`UPDATE jobs SET state = 'running', attempt = attempt + 1, started_at_ms = ?, due_at_ms = ?
      WHERE id = ?`),
    nextDue: file.prepare(`SELECT MIN(at) AS due FROM (
      SELECT MIN(due_at_ms) AS at FROM jobs WHERE state IN ('delayed', 'running')
      UNION ALL SELECT MIN(ends_at_ms) FROM jobs)`),
    extend: file.prepare(`UPDATE jobs SET due_at_ms = ? WHERE id = ? AND attempt = ? AND state = 'running'`),
    read: file.prepare('SELECT * FROM jobs WHERE id = ?'),
    cancel: file.prepare(
      `UPDATE jobs SET state = 'canceled', due_at_ms = NULL, finished_at_ms = ?, ends_at_ms = ? + keep_ms
      WHERE id = ? AND state IN ('queued', 'delayed', 'running')`,
    ),
    retry: file.prepare(`UPDATE jobs SET state = 'queued', failures = 0, finished_at_ms = NULL, ends_at_ms = ? + ttl_ms
      WHERE id = ? AND state = 'dead'`),
    dead: file.prepare(`SELECT id FROM jobs WHERE state = 'dead' AND owner = ? ORDER BY finished_at_ms DESC, seq DESC
      LIMIT ?`),
    counts: file.prepare(`SELECT state, COUNT(*) AS jobs FROM jobs WHERE state IN ('queued', 'delayed', 'running')
      GROUP BY state`),
  }
}

interface KeyRow {
  fingerprint: string
  batch: string
  count: number
}

interface ClaimedRow {
  id: string
  failures: number
  max_attempts: number
  keep_ms: number
}

interface EndedRow {
  id: string
  state: string
  failures: number
  has_blobs: number
}

interface TakenRow {
  id: string
  owner: string
  task: string
  attempt: number
  failures: number
}

interface JobRow extends TakenRow {
  rank: number
  state: JobPhase | 'delayed'
  max_attempts: number
  submitted_at_ms: number
  started_at_ms: number | null
  finished_at_ms: number | null
  ends_at_ms: number
  result: string | null
  reason: string | null
}

function stateOf(row: JobRow): JobState {
  return {
    id: row.id,
    owner: row.owner,
    state: row.state === 'delayed' ? 'queued' : row.state,
    task: row.task,
    priority: JOB_PRIORITIES[row.rank] ?? 'normal',
    attempt: row.attempt,
    failures: row.failures,
    maxAttempts: row.max_attempts,
    submittedAtMs: row.submitted_at_ms,
    endsAtMs: row.ends_at_ms,
    ...(row.started_at_ms !== null && { startedAtMs: row.started_at_ms }),
    ...(row.finished_at_ms !== null && { finishedAtMs: row.finished_at_ms }),
    ...(row.result !== null && { result: row.result }),
    ...(row.reason !== null && { reason: row.reason }),
  }
}
