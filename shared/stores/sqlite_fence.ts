import { checkFenced, type Fenced, type FencedStore, superseded } from './fence.ts'
import { SqliteFile } from './sqlite_file.ts'

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS fences (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, value TEXT) WITHOUT ROWID;
`

/**
 * Fenced values in a SQLite file, which may be shared by several processes. They outlive a power cut.
 * @param path a file in an existing directory, or ':memory:'
 * @throws RpcError `unavailable` if the file cannot be opened
 */
export function openSqliteFence(path: string): FencedStore {
  const file = new SqliteFile(path, SCHEMA, 'nothing')
  const read = file.prepare('SELECT epoch, value FROM fences WHERE name = ?')
  const admit = file.prepare(`INSERT INTO fences (name, epoch) VALUES (?, ?)
    ON CONFLICT DO UPDATE SET epoch = excluded.epoch`)
  const put = file.prepare(`INSERT INTO fences (name, epoch, value) VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET epoch = excluded.epoch, value = excluded.value`)
  const get = (name: string) => read.get(name) as unknown as { epoch: number; value: string | null } | undefined

  const write = (name: string, epoch: number, change: () => void) =>
    file.write(() => {
      const highest = get(name)?.epoch ?? 0
      if (epoch < highest) throw superseded(name, epoch, highest)
      change()
    })

  return {
    async admit(name, epoch) {
      checkFenced(name, epoch)
      write(name, epoch, () => admit.run(name, epoch))
    },
    async put(name, epoch, value) {
      checkFenced(name, epoch, value)
      write(name, epoch, () => put.run(name, epoch, value))
    },
    async get(name): Promise<Fenced | undefined> {
      checkFenced(name, 0)
      const row = file.read(() => get(name))
      return row && { epoch: row.epoch, value: row.value ?? undefined }
    },
    async close() {
      file.close()
    },
  }
}
