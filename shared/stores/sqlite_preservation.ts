import { DEFAULTS } from '../base/defaults.ts'
import { longestBeatMs, suspectAfterMs } from './lease_store.ts'
import type { SqliteFile } from './sqlite_file.ts'

export const PRESERVATION_SCHEMA = `
  -- Beside lease_instances, for the same instances. A suspect is seen once readers were told, by a revision.
  CREATE TABLE IF NOT EXISTS lease_health (
    service TEXT NOT NULL, id TEXT NOT NULL, ttl_ms INTEGER NOT NULL, suspect_at_ms INTEGER NOT NULL,
    seen INTEGER NOT NULL, dead_at_ms INTEGER,
    PRIMARY KEY (service, id)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS lease_suspects ON lease_health (service, suspect_at_ms);
  CREATE TABLE IF NOT EXISTS lease_renewals (
    service TEXT PRIMARY KEY, born_at_ms INTEGER NOT NULL, short_at_ms INTEGER
  ) WITHOUT ROWID;
  -- When somebody last beat or looked, and the longest that passes between two beats.
  CREATE TABLE IF NOT EXISTS lease_looks (
    service TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, longest_beat_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
`

/** Self-preservation in SQLite, for sqlite_store.ts; what it means is said in lease_store.ts. Within a transaction. */
export class Preservation {
  readonly #sql: ReturnType<typeof prepare>

  constructor(file: SqliteFile) {
    this.#sql = prepare(file)
  }

  /** Notes that somebody beats or looks, before anything else: time that leapt or went back since is made good. */
  look(service: string, nowMs: number): void {
    const last = this.#sql.lastLook.get(service)
    if (!last) return void this.#sql.look.run(service, nowMs, 0)
    const passedMs = nowMs - Number(last.at_ms)
    const longestMs = Number(last.longest_beat_ms)
    // Clocks of processes that share a file may differ a little: that is no leap.
    if (passedMs <= 0 && -passedMs <= longestMs) return
    this.#sql.look.run(service, nowMs, 0)
    const leaptMs = passedMs < 0 ? passedMs : Math.max(0, passedMs - longestMs)
    if (leaptMs !== 0) {
      this.#sql.moveShort.run(leaptMs, service)
      this.#sql.moveHolds.run(leaptMs, service)
    }
    if (leaptMs < 0) {
      this.#sql.moveSuspects.run(leaptMs, service)
      this.#sql.moveEnds.run(leaptMs, service)
    }
  }

  /** Notes a beat. @returns whether readers saw no lease here, or a suspect */
  renewed(service: string, id: string, ttlMs: number, nowMs: number): boolean {
    const suspectAtMs = nowMs + suspectAfterMs(ttlMs)
    if (this.#sql.renew.run(ttlMs, suspectAtMs, service, id).changes > 0) return false
    this.#sql.put.run(service, id, ttlMs, suspectAtMs)
    this.#sql.bear.run(service, nowMs)
    this.#sql.look.run(service, nowMs, longestBeatMs(ttlMs))
    return true
  }

  /** Forgets an instance that left or was evicted. */
  remove(service: string, id: string): void {
    this.#sql.remove.run(service, id)
  }

  /** When the service was first heard of. */
  bornAtMs(service: string): number | undefined {
    return this.#sql.renewals.get(service)?.born_at_ms as number | undefined
  }

  /** Whether all have beaten of late: then no lease is over, and nothing is to be noted. */
  isSound(service: string, nowMs: number): boolean {
    return this.#sql.anySuspect.get(service, nowMs) === undefined
  }

  /**
   * Notes who has become suspect and whether renewals are short, and holds back what must not be evicted.
   * @returns the ids to evict, and whether readers are to be told of new suspects
   */
  judge(service: string, nowMs: number): { evict: string[]; newSuspects: boolean } {
    const newSuspects = this.#sql.see.run(service, nowMs).changes > 0
    const { fresh, expected } = this.#sql.count.get(nowMs, nowMs, service) as unknown as Counts
    const isShort = fresh < expected * DEFAULTS.leaseRenewalShare
    if (isShort) this.#sql.markShort.run(nowMs, service)
    const shortAtMs = Number(this.#sql.renewals.get(service)?.short_at_ms ?? -Infinity)
    const evict: string[] = []
    for (const row of this.#sql.expired.all(service, nowMs) as unknown as ExpiredRow[]) {
      const ttlMs = row.ttl_ms ?? 0
      if (nowMs - shortAtMs >= ttlMs) evict.push(row.id)
      else if (row.dead_at_ms === null) {
        this.#sql.hold.run(nowMs + ttlMs * DEFAULTS.leaseHoldFactor, service, row.id)
      }
    }
    return { evict, newSuspects }
  }
}

interface Counts {
  fresh: number
  expected: number
}

interface ExpiredRow {
  id: string
  ttl_ms: number | null
  dead_at_ms: number | null
}

function prepare(file: SqliteFile) {
  return {
    renew: file.prepare(`UPDATE lease_health SET ttl_ms = ?, suspect_at_ms = ?
      WHERE service = ? AND id = ? AND seen = 0`),
    put: file.prepare(`INSERT INTO lease_health (service, id, ttl_ms, suspect_at_ms, seen) VALUES (?, ?, ?, ?, 0)
      ON CONFLICT DO UPDATE SET ttl_ms = excluded.ttl_ms, suspect_at_ms = excluded.suspect_at_ms, seen = 0,
        dead_at_ms = NULL`),
    remove: file.prepare('DELETE FROM lease_health WHERE service = ? AND id = ?'),
    bear: file.prepare('INSERT INTO lease_renewals (service, born_at_ms) VALUES (?, ?) ON CONFLICT DO NOTHING'),
    renewals: file.prepare('SELECT born_at_ms, short_at_ms FROM lease_renewals WHERE service = ?'),
    markShort: file.prepare('UPDATE lease_renewals SET short_at_ms = ? WHERE service = ?'),
    anySuspect: file.prepare('SELECT 1 FROM lease_health WHERE service = ? AND suspect_at_ms <= ? LIMIT 1'),
    see: file.prepare('UPDATE lease_health SET seen = 1 WHERE service = ? AND suspect_at_ms <= ? AND seen = 0'),
    count: file.prepare(`SELECT count(*) FILTER (WHERE suspect_at_ms > ?) AS fresh,
      count(*) FILTER (WHERE dead_at_ms IS NULL OR dead_at_ms > ?) AS expected
      FROM lease_health WHERE service = ?`),
    expired: file.prepare(`SELECT id, ttl_ms, dead_at_ms FROM lease_instances LEFT JOIN lease_health USING (service, id)
      WHERE service = ? AND ends_at_ms <= ?`),
    lastLook: file.prepare('SELECT at_ms, longest_beat_ms FROM lease_looks WHERE service = ?'),
    look: file.prepare(`INSERT INTO lease_looks (service, at_ms, longest_beat_ms) VALUES (?, ?, ?)
      ON CONFLICT DO UPDATE SET at_ms = excluded.at_ms,
        longest_beat_ms = max(longest_beat_ms, excluded.longest_beat_ms)`),
    moveShort: file.prepare('UPDATE lease_renewals SET short_at_ms = short_at_ms + ? WHERE service = ?'),
    moveHolds: file.prepare('UPDATE lease_health SET dead_at_ms = dead_at_ms + ? WHERE service = ?'),
    moveSuspects: file.prepare('UPDATE lease_health SET suspect_at_ms = suspect_at_ms + ? WHERE service = ?'),
    moveEnds: file.prepare('UPDATE lease_instances SET ends_at_ms = ends_at_ms + ? WHERE service = ?'),
    hold: file.prepare('UPDATE lease_health SET dead_at_ms = ? WHERE service = ? AND id = ?'),
  }
}
