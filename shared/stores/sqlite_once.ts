import type { Clock } from '../base/clock.ts'
import { checkClaim, type OnceStore } from './once_store.ts'
import { SqliteFile } from './sqlite_file.ts'

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS once_keys (key TEXT PRIMARY KEY, ends_at_ms INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS once_ends ON once_keys (ends_at_ms);
`

/**
 * Single-use keys in a SQLite file, which may be that of the leases and may be shared by several processes. A claim
 * outlives a power cut.
 * @param path a file in an existing directory, or ':memory:'
 * @param clock one that follows wall time, such as `Date`: it is compared across restarts and processes
 * @throws RpcError `unavailable` if the file cannot be opened
 */
export function openSqliteOnce(path: string, clock: Pick<Clock, 'now'>): OnceStore {
  const file = new SqliteFile(path, SCHEMA, 'nothing')
  const forget = file.prepare('DELETE FROM once_keys WHERE ends_at_ms <= ?')
  const claim = file.prepare('INSERT INTO once_keys (key, ends_at_ms) VALUES (?, ?) ON CONFLICT DO NOTHING')
  return {
    async claim(key, ttlMs) {
      const lifeMs = checkClaim(key, ttlMs)
      const nowMs = Math.floor(clock.now())
      return file.write(() => {
        forget.run(nowMs)
        return claim.run(key, nowMs + lifeMs).changes > 0
      })
    },
    async close() {
      file.close()
    },
  }
}
