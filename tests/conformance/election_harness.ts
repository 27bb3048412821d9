import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FakeClock } from '../../shared/base/clock.ts'
import { openSqliteElections } from '../../shared/stores/sqlite_election.ts'
import { openSqliteFence } from '../../shared/stores/sqlite_fence.ts'
import { openSqliteLeases } from '../../shared/stores/sqlite_store.ts'
import type { ElectionHarness } from './election_store_suite.ts'
import type { FenceHarness } from './fence_suite.ts'
import type { PreservationHarness } from './lease_preservation_suite.ts'

/** Elections in a file of their own, open in two connections. */
export async function sqliteFileElections(): Promise<ElectionHarness> {
  const clock = new FakeClock(1_800_000_000_000)
  let leaptMs = 0
  const store = { now: () => clock.now() + leaptMs }
  const folder = mkdtempSync(join(tmpdir(), 'shoal-sqlite-'))
  const path = join(folder, 'shoal.db')
  const open = () => [openSqliteElections(path, store), openSqliteElections(path, store)] as const
  let clients = open()
  const closeBoth = () => Promise.all(clients.map((client) => client.close()))
  return {
    get store() {
      return clients[0]
    },
    get other() {
      return clients[1]
    },
    shortTtlMs: 100,
    elapse: (ms) => clock.advance(ms),
    async leap(ms) {
      leaptMs += ms
    },
    async wipe() {
      await closeBoth()
      for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true })
      clients = open()
    },
    async close() {
      await closeBoth()
      rmSync(folder, { recursive: true })
    },
  }
}

export async function sqliteFileFence(): Promise<FenceHarness> {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-sqlite-'))
  const [store, other] = [openSqliteFence(join(folder, 'a.db')), openSqliteFence(join(folder, 'a.db'))]
  return {
    store,
    other,
    async close() {
      await Promise.all([store.close(), other.close()])
      rmSync(folder, { recursive: true })
    },
  }
}

/** Readers look more often than the shortest lease here has beats. */
const LOOK_MS = 30_000

export async function sqlitePreservation(): Promise<PreservationHarness> {
  let nowMs = 10_000_000
  const store = openSqliteLeases(':memory:', { now: () => nowMs })
  return {
    store,
    async elapse(ms) {
      for (const untilMs = nowMs + ms; nowMs < untilMs;) {
        nowMs = Math.min(untilMs, nowMs + LOOK_MS)
        if (nowMs < untilMs) { for (const service of ['demo.Hello', 'demo.Other']) await store.list(service) }
      }
    },
    async leap(ms) {
      nowMs += ms
    },
    close: () => store.close(),
  }
}
