import { JOB_PRIORITIES, type JobPhase, type JobState } from './job_store.ts'
import type { SqliteFile } from './sqlite_file.ts'

/**
 * `state` has one more value than callers see: 'delayed' is queued, but not yet due. `due_at_ms` is when that changes, or
 * when the lease of a running job ends. `ends_at_ms` is when a job must be done, and once it is over, when it is forgotten.
 */
export const SCHEMA = `
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

/** Jobs whose time is over that one exchange looks after: more wait for the next. */
export const TENDED = 200

/** Every statement, by what it does. Times are in ms. */
export function prepare(file: SqliteFile) {
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

export interface KeyRow {
  fingerprint: string
  batch: string
  count: number
}

export interface ClaimedRow {
  id: string
  failures: number
  max_attempts: number
  keep_ms: number
}

export interface EndedRow {
  id: string
  state: string
  failures: number
  has_blobs: number
}

export interface TakenRow {
  id: string
  owner: string
  task: string
  attempt: number
  failures: number
}

export interface JobRow extends TakenRow {
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

/** A job as callers see it. */
export function stateOf(row: JobRow): JobState {
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
