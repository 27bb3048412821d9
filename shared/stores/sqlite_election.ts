import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { checkStanding, checkTerm, type ElectionStore, type Standing } from './election_store.ts'
import { SqliteFile } from './sqlite_file.ts'

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS elections (
    name TEXT PRIMARY KEY, candidate TEXT NOT NULL, epoch INTEGER NOT NULL,
    ends_at_ms INTEGER NOT NULL, ttl_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS election_ends ON elections (ends_at_ms);
`

/**
 * Elections in a SQLite file, which may be that of the leases and may be shared by several processes. Epochs outlive a
 * power cut.
 * @param path a file in an existing directory, or ':memory:'
 * @param clock one that follows wall time, such as `Date`: it is compared across restarts and processes
 * @throws RpcError `unavailable` if the file cannot be opened
 */
export function openSqliteElections(path: string, clock: Pick<Clock, 'now'>): ElectionStore {
  const file = new SqliteFile(path, SCHEMA, 'nothing')
  const sql = {
    forget: file.prepare('DELETE FROM elections WHERE ends_at_ms <= ?'),
    read: file.prepare('SELECT candidate, epoch, ends_at_ms, ttl_ms FROM elections WHERE name = ?'),
    put: file.prepare(`INSERT INTO elections (name, candidate, epoch, ends_at_ms, ttl_ms) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET candidate = excluded.candidate, epoch = excluded.epoch,
        ends_at_ms = excluded.ends_at_ms, ttl_ms = excluded.ttl_ms`),
    shorten: file.prepare('UPDATE elections SET ends_at_ms = ? WHERE name = ?'),
    renew: file.prepare(`UPDATE elections SET ends_at_ms = ?, ttl_ms = ?
      WHERE name = ? AND candidate = ? AND epoch = ? AND ends_at_ms > ?`),
    resign: file.prepare(`UPDATE elections SET ends_at_ms = ?
      WHERE name = ? AND candidate = ? AND epoch = ? AND ends_at_ms > ?`),
  }

  function stand(name: string, candidate: string, ttlMs: number, nowMs: number): Standing {
    sql.forget.run(nowMs - DEFAULTS.electionMemoryMs)
    const last = sql.read.get(name) as unknown as TermRow | undefined
    if (last && last.candidate !== candidate && last.ends_at_ms > nowMs) {
      // It lasts no longer than if it had been renewed right now: else the clock was set back in the meantime.
      const heldForMs = Math.min(last.ends_at_ms - nowMs, last.ttl_ms)
      if (heldForMs < last.ends_at_ms - nowMs) sql.shorten.run(nowMs + heldForMs, name)
      return { heldForMs }
    }
    const epoch = Math.max((last?.epoch ?? 0) + 1, nowMs)
    sql.put.run(name, candidate, epoch, nowMs + ttlMs, ttlMs)
    return { epoch }
  }

  const now = () => Math.floor(clock.now())
  return {
    async acquire(name, candidate, ttlMs) {
      checkStanding(name, candidate, ttlMs)
      return file.write(() => stand(name, candidate, ttlMs, now()))
    },
    async renew(name, candidate, epoch, ttlMs) {
      checkStanding(name, candidate, ttlMs)
      checkTerm(name, candidate, epoch)
      const nowMs = now()
      return file.write(() => sql.renew.run(nowMs + ttlMs, ttlMs, name, candidate, epoch, nowMs).changes > 0)
    },
    async resign(name, candidate, epoch) {
      checkTerm(name, candidate, epoch)
      const nowMs = now()
      file.write(() => sql.resign.run(nowMs, name, candidate, epoch, nowMs))
    },
    async close() {
      file.close()
    },
  }
}

interface TermRow {
  candidate: string
  epoch: number
  ends_at_ms: number
  ttl_ms: number
}
