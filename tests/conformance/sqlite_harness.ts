import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FakeClock } from '../../shared/base/clock.ts'
import { openSqliteJobs } from '../../shared/stores/sqlite_jobs.ts'
import { openSqliteLeases } from '../../shared/stores/sqlite_store.ts'
import { openSqliteOnce } from '../../shared/stores/sqlite_once.ts'
import type { JobHarness } from './job_store_suite.ts'
import type { LeaseHarness } from './lease_harness.ts'
import type { RollbackHarness } from './lease_rollback_suite.ts'
import type { OnceHarness } from './once_store_suite.ts'

/** Leases in a file of their own, open in two connections. */
export async function sqliteFileLeases(): Promise<LeaseHarness> {
  const clock = new FakeClock()
  const folder = mkdtempSync(join(tmpdir(), 'shoal-sqlite-'))
  const path = join(folder, 'shoal.db')
  let [store, other] = [openSqliteLeases(path, clock), openSqliteLeases(path, clock)]
  const closeBoth = () => Promise.all([store.close(), other.close()])
  return {
    get store() {
      return store
    },
    get other() {
      return other
    },
    shortTtlMs: 100,
    elapse: (ms) => clock.advance(ms),
    async wipe() {
      await closeBoth()
      for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true })
      ;[store, other] = [openSqliteLeases(path, clock), openSqliteLeases(path, clock)]
    },
    async close() {
      await closeBoth()
      rmSync(folder, { recursive: true })
    },
  }
}

/** Leases in a file that is put back in its place as it once was. */
export async function sqliteRollback(): Promise<RollbackHarness> {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-sqlite-'))
  const [path, kept] = [join(folder, 'shoal.db'), join(folder, 'kept.db')]
  const clock = new FakeClock(1_800_000_000_000)
  let store = openSqliteLeases(path, clock)
  /** Closed, all of it is in one file. */
  const copy = async (from: string, to: string) => {
    await store.close()
    for (const suffix of ['', '-wal', '-shm']) rmSync(to + suffix, { force: true })
    copyFileSync(from, to)
    await clock.advance(2)
    store = openSqliteLeases(path, clock)
  }
  return {
    get store() {
      return store
    },
    async snapshot() {
      await copy(path, kept)
      return () => copy(kept, path)
    },
    async close() {
      await store.close()
      rmSync(folder, { recursive: true })
    },
  }
}

/** Leases in memory: one connection has them, and losing them is opening another. */
export async function sqliteMemoryLeases(): Promise<LeaseHarness> {
  const clock = new FakeClock()
  let store = openSqliteLeases(':memory:', clock)
  return {
    get store() {
      return store
    },
    get other() {
      return store
    },
    shortTtlMs: 100,
    elapse: (ms) => clock.advance(ms),
    async wipe() {
      await store.close()
      store = openSqliteLeases(':memory:', clock)
    },
    close: () => store.close(),
  }
}

export async function sqliteFileOnce(): Promise<OnceHarness> {
  const clock = new FakeClock()
  const folder = mkdtempSync(join(tmpdir(), 'shoal-sqlite-'))
  const [store, other] = [openSqliteOnce(join(folder, 'a.db'), clock), openSqliteOnce(join(folder, 'a.db'), clock)]
  return {
    store,
    other,
    elapse: (ms) => clock.advance(ms),
    async close() {
      await Promise.all([store.close(), other.close()])
      rmSync(folder, { recursive: true })
    },
  }
}

/** Jobs in a file of their own, open in two connections. */
export async function sqliteFileJobs(): Promise<JobHarness> {
  const clock = new FakeClock(1_800_000_000_000)
  const folder = mkdtempSync(join(tmpdir(), 'shoal-sqlite-'))
  const [store, other] = [openSqliteJobs(join(folder, 'a.db'), clock), openSqliteJobs(join(folder, 'a.db'), clock)]
  return {
    store,
    other,
    shortMs: 100,
    elapse: (ms) => clock.advance(ms),
    async close() {
      await Promise.all([store.close(), other.close()])
      rmSync(folder, { recursive: true })
    },
  }
}
