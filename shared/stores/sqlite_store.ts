import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { byId, checkName, decodeRecord, type LeaseRow, rowsByService } from './lease_record.ts'
import type { Instance, LeaseStore, Listing } from './lease_store.ts'
import { SqliteFile } from './sqlite_file.ts'
import { Preservation, PRESERVATION_SCHEMA } from './sqlite_preservation.ts'

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS lease_instances (
    service TEXT NOT NULL, id TEXT NOT NULL, record TEXT NOT NULL, ends_at_ms INTEGER NOT NULL,
    PRIMARY KEY (service, id)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS lease_ends ON lease_instances (service, ends_at_ms);
  CREATE TABLE IF NOT EXISTS lease_revisions (service TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS lease_recent (
    service TEXT NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (service, revision)
  ) WITHOUT ROWID;
  -- Rowids give the order in which lives were met. forget_at_ms is NULL while the instance is live.
  CREATE TABLE IF NOT EXISTS lease_lives (
    service TEXT NOT NULL, id TEXT NOT NULL, incarnation TEXT NOT NULL, over INTEGER NOT NULL, forget_at_ms INTEGER,
    UNIQUE (service, id, incarnation)
  );
  CREATE INDEX IF NOT EXISTS lease_forgotten ON lease_lives (forget_at_ms) WHERE forget_at_ms IS NOT NULL;
  ${PRESERVATION_SCHEMA}
`

/**
 * Leases in a SQLite file: the embedded default of Node and Deno.
 * @param path a file in an existing directory, which several processes may share, or ':memory:'
 * @param clock processes that share a file need clocks that agree: `Date` follows the machine's wall clock, while a
 *   monotonic clock falls behind that of a process started after the machine slept
 * @throws RpcError `unavailable` if the file cannot be opened
 */
export function openSqliteLeases(path: string, clock: Pick<Clock, 'now'>): LeaseStore {
  return new SqliteLeases(new SqliteFile(path, SCHEMA, 'recent'), () => Math.floor(clock.now()))
}

class SqliteLeases implements LeaseStore {
  readonly #file: SqliteFile
  readonly #nowMs: () => number
  readonly #sql: Statements
  readonly #preservation: Preservation

  constructor(file: SqliteFile, nowMs: () => number) {
    this.#file = file
    this.#nowMs = nowMs
    this.#sql = prepare(file)
    this.#preservation = new Preservation(file)
  }

  async renew(instances: readonly Instance[]): Promise<Instance[]> {
    const groups = rowsByService(instances)
    const nowMs = this.#nowMs()
    const refused: Instance[] = []
    this.#file.write(() => {
      for (const [service, rows] of groups) {
        this.#preservation.look(service, nowMs)
        let changed = false
        for (const row of rows) {
          const outcome = this.#renewOne(row, nowMs)
          if (outcome === 'refused') refused.push(row.instance)
          if (outcome === 'changed') changed = true
        }
        if (changed) this.#bump(service, nowMs)
        this.#evict(service, nowMs)
      }
      this.#sql.forgetLives.run(nowMs)
    })
    return refused
  }

  async leave(service: string, id: string, incarnation: string): Promise<void> {
    checkName('service', service)
    checkName('instance id', id)
    checkName('incarnation', incarnation)
    const nowMs = this.#nowMs()
    this.#file.write(() => {
      const current = this.#sql.currentLife.get(service, id)
      if (current && current.incarnation !== incarnation) return
      // Remembered even if never met: the beat that was to introduce it may still be on its way.
      this.#sql.endLife.run(service, id, incarnation, nowMs + DEFAULTS.lifeMemoryMs)
      this.#sql.forgetLater.run(nowMs + DEFAULTS.lifeMemoryMs, service, id)
      this.#preservation.remove(service, id)
      if (this.#sql.remove.run(service, id).changes > 0) this.#bump(service, nowMs)
    })
  }

  async list(service: string, sinceRevision?: number): Promise<Listing> {
    checkName('service', service)
    const nowMs = this.#nowMs()
    // Most reads find all instances beating and need no writer's lock.
    const { revision, rows, bornAtMs, recent } =
      this.#file.read(() => this.#preservation.isSound(service, nowMs) && this.#read(service, sinceRevision)) ||
      this.#file.write(() => {
        this.#evict(service, nowMs)
        return this.#read(service, sinceRevision)
      })
    if (!rows) return { revision, unchanged: true }
    const instances = rows.map((row) => decodeRecord(row.record, row.ends_at_ms, nowMs)).sort(byId)
    return { revision, instances, ...(bornAtMs !== undefined && { bornAtMs, readAtMs: nowMs, recent }) }
  }

  async services(): Promise<string[]> {
    return this.#file.read(() => this.#sql.services.all(this.#nowMs())).map((row) => String(row.service)).sort()
  }

  async close(): Promise<void> {
    this.#file.close()
  }

  #renewOne({ instance, record }: LeaseRow, nowMs: number): 'renewed' | 'changed' | 'refused' {
    const { service, id, incarnation, ttlMs } = instance
    const renewed = this.#sql.renewSame.run(nowMs + ttlMs, service, id, record).changes > 0
    if (renewed) return this.#preservation.renewed(service, id, ttlMs, nowMs) ? 'changed' : 'renewed'
    if (this.#sql.isOver.get(service, id, incarnation)) return 'refused'
    this.#sql.endOthers.run(service, id, incarnation)
    this.#sql.beginLife.run(service, id, incarnation)
    this.#sql.keepLives.run(service, id)
    this.#sql.forgetLater.run(null, service, id)
    this.#sql.put.run(service, id, record, nowMs + ttlMs)
    this.#preservation.renewed(service, id, ttlMs, nowMs)
    return 'changed'
  }

  /** The only place where an unrenewed lease ends. */
  #evict(service: string, nowMs: number): void {
    if (this.#preservation.isSound(service, nowMs)) return
    this.#preservation.look(service, nowMs)
    const { evict, newSuspects } = this.#preservation.judge(service, nowMs)
    for (const id of evict) {
      this.#sql.forgetLater.run(nowMs + DEFAULTS.lifeMemoryMs, service, id)
      this.#sql.remove.run(service, id)
      this.#preservation.remove(service, id)
    }
    if (evict.length > 0 || newSuspects) this.#bump(service, nowMs)
  }

  #bump(service: string, nowMs: number): void {
    this.#sql.bump.run(service, nowMs)
    this.#sql.remember.run(service)
    this.#sql.forgetRevisions.run(service, service)
  }

  #read(service: string, sinceRevision: number | undefined): Reading {
    const revision = Number(this.#sql.revision.get(service)?.revision ?? 0)
    if (revision === sinceRevision) return { revision }
    const rows = this.#sql.table.all(service) as unknown as TableRow[]
    const recent = this.#sql.recent.all(service).map((row) => Number(row.revision))
    return { revision, rows, bornAtMs: this.#preservation.bornAtMs(service), recent }
  }
}

interface Reading {
  revision: number
  rows?: TableRow[]
  bornAtMs?: number
  recent?: readonly number[]
}

interface TableRow {
  record: string
  ends_at_ms: number
}

type Statements = ReturnType<typeof prepare>

function prepare(file: SqliteFile) {
  return {
    renewSame: file.prepare('UPDATE lease_instances SET ends_at_ms = ? WHERE service = ? AND id = ? AND record = ?'),
    put: file.prepare(`INSERT INTO lease_instances (service, id, record, ends_at_ms) VALUES (?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET record = excluded.record, ends_at_ms = excluded.ends_at_ms`),
    remove: file.prepare('DELETE FROM lease_instances WHERE service = ? AND id = ?'),
    table: file.prepare('SELECT record, ends_at_ms FROM lease_instances WHERE service = ?'),
    services: file.prepare('SELECT DISTINCT service FROM lease_instances WHERE ends_at_ms > ?'),

    revision: file.prepare('SELECT revision FROM lease_revisions WHERE service = ?'),
    bump: file.prepare(`INSERT INTO lease_revisions (service, revision) VALUES (?, ?)
      ON CONFLICT DO UPDATE SET revision = max(revision + 1, excluded.revision)`),
    remember: file.prepare(`INSERT OR IGNORE INTO lease_recent
      SELECT service, revision FROM lease_revisions WHERE service = ?`),
    forgetRevisions: file.prepare(`DELETE FROM lease_recent WHERE service = ? AND revision <= (
      SELECT revision FROM lease_recent WHERE service = ?
      ORDER BY revision DESC LIMIT 1 OFFSET ${LIMITS.maxRecentRevisions})`),
    recent: file.prepare('SELECT revision FROM lease_recent WHERE service = ? ORDER BY revision'),

    isOver: file.prepare('SELECT 1 FROM lease_lives WHERE service = ? AND id = ? AND incarnation = ? AND over = 1'),
    currentLife: file.prepare('SELECT incarnation FROM lease_lives WHERE service = ? AND id = ? AND over = 0'),
    beginLife: file.prepare(`INSERT INTO lease_lives (service, id, incarnation, over) VALUES (?, ?, ?, 0)
      ON CONFLICT DO NOTHING`),
    endLife: file.prepare(`INSERT INTO lease_lives (service, id, incarnation, over, forget_at_ms) VALUES (?, ?, ?, 1, ?)
      ON CONFLICT DO UPDATE SET over = 1`),
    endOthers: file.prepare('UPDATE lease_lives SET over = 1 WHERE service = ? AND id = ? AND incarnation <> ?'),
    keepLives: file.prepare(`DELETE FROM lease_lives WHERE rowid IN (
      SELECT rowid FROM lease_lives WHERE service = ? AND id = ?
      ORDER BY rowid DESC LIMIT -1 OFFSET ${LIMITS.maxPastLives + 1})`),
    forgetLater: file.prepare('UPDATE lease_lives SET forget_at_ms = ? WHERE service = ? AND id = ?'),
    forgetLives: file.prepare('DELETE FROM lease_lives WHERE forget_at_ms <= ?'),
  }
}
