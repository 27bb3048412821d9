import { FakeClock } from '../../shared/base/clock.ts'
import { memoryOnce } from '../../shared/stores/once_store.ts'
import { leaseStoreSuite } from './lease_store_suite.ts'
import { onceStoreSuite } from './once_store_suite.ts'
import { sqliteFileLeases, sqliteFileOnce, sqliteMemoryLeases } from './sqlite_harness.ts'
import { register } from './vitest_suite.ts'

register(leaseStoreSuite('SQLite file', sqliteFileLeases))
register(leaseStoreSuite('SQLite in memory', sqliteMemoryLeases))
register(onceStoreSuite('SQLite file', sqliteFileOnce))
register(onceStoreSuite('memory', async () => {
  const clock = new FakeClock()
  const store = memoryOnce(clock)
  return { store, other: store, elapse: (ms) => clock.advance(ms), close: () => store.close() }
}))
