import type { SqlStorage } from '@cloudflare/workers-types/index.ts'
import type { Clock } from '../../shared/base/clock.ts'
import { checkClaim, type OnceStore } from '../../shared/stores/once_store.ts'

/**
 * Single-use keys in a Durable Object's own database: they outlive hibernation and restarts of the object.
 * @param clock one that follows wall time, since it is compared across lives of the object
 */
export function durableOnce(sql: SqlStorage, clock: Pick<Clock, 'now'>): OnceStore {
  sql.exec('CREATE TABLE IF NOT EXISTS once_keys (key TEXT PRIMARY KEY, ends_at_ms INTEGER NOT NULL) WITHOUT ROWID')
  sql.exec('CREATE INDEX IF NOT EXISTS once_ends ON once_keys (ends_at_ms)')
  return {
    async claim(key, ttlMs) {
      const lifeMs = checkClaim(key, ttlMs)
      const nowMs = Math.floor(clock.now())
      // Statements run at once and in order, so nothing comes between them.
      sql.exec('DELETE FROM once_keys WHERE ends_at_ms <= ?', nowMs)
      const claimed = sql.exec(
        'INSERT INTO once_keys (key, ends_at_ms) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING 1',
        key,
        nowMs + lifeMs,
      )
      return claimed.toArray().length > 0
    },
    async close() {},
  }
}
