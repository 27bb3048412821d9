import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { DEFAULTS } from '../base/defaults.ts'
import { RpcError } from '../wire/errors.ts'

/**
 * What a power cut may take. `recent`: the last transactions (never the file's consistency), for state that beats
 * restore. `nothing`: a commit waits for the disk.
 */
export type MayLose = 'recent' | 'nothing'

/** A SQLite file in WAL mode, which several connections and processes may share. */
export class SqliteFile {
  readonly #database: DatabaseSync

  /**
   * @param path a file in an existing directory, or ':memory:'
   * @throws RpcError `unavailable` if it cannot be opened
   */
  constructor(path: string, schema: string, mayLose: MayLose) {
    try {
      this.#database = new DatabaseSync(path)
      // First of all: making tables waits for other processes too.
      this.#database.exec(`PRAGMA busy_timeout = ${DEFAULTS.sqliteBusyTimeoutMs}`)
      useWal(this.#database)
      this.#database.exec(`
        PRAGMA synchronous = ${mayLose === 'recent' ? 'NORMAL' : 'FULL'};
        ${schema}
      `)
    } catch (thrown) {
      throw new RpcError('unavailable', `Cannot open the store: SQLite must open "${path}", got ${textOf(thrown)}`, {
        cause: thrown,
      })
    }
  }

  prepare(sql: string): StatementSync {
    return this.#database.prepare(sql)
  }

  /** Runs `work` on one consistent snapshot. It must not write. */
  read<T>(work: () => T): T {
    return this.#transaction('BEGIN', work)
  }

  /** Runs `work` as the only writer; all of it is done, or none. */
  write<T>(work: () => T): T {
    // IMMEDIATE: a transaction that turns into a writer half-way fails at once if another wrote in between.
    return this.#transaction('BEGIN IMMEDIATE', work)
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close()
  }

  #transaction<T>(begin: string, work: () => T): T {
    try {
      this.#database.exec(begin)
      const result = work()
      this.#database.exec('COMMIT')
      return result
    } catch (thrown) {
      if (this.#database.isOpen && this.#database.isTransaction) this.#database.exec('ROLLBACK')
      if (thrown instanceof RpcError) throw thrown
      throw new RpcError('unavailable', `Cannot use the store: SQLite must finish, got "${textOf(thrown)}"`, {
        cause: thrown,
      })
    }
  }
}

/**
 * Of several connections that change a new file to WAL at the same time, all but one fail at once, whatever the busy
 * time-out: each has a lock the others wait for. Asking for the writer's lock does wait, and then one can try again.
 */
function useWal(database: DatabaseSync): void {
  for (let triesLeft = 100;; triesLeft--) {
    try {
      return database.exec('PRAGMA journal_mode = WAL')
    } catch (thrown) {
      if (triesLeft === 0) throw thrown
      database.exec('BEGIN IMMEDIATE; COMMIT')
    }
  }
}

function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}
