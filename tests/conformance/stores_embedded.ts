import { FakeClock } from '../../shared/base/clock.ts'
import { memoryOnce } from '../../shared/stores/once_store.ts'
import type { Suite } from '../suite.ts'
import { sqliteFileElections, sqliteFileFence, sqlitePreservation } from './election_harness.ts'
import { electionStoreSuite } from './election_store_suite.ts'
import { fenceSuite } from './fence_suite.ts'
import { jobStoreSuite } from './job_store_suite.ts'
import { leasePreservationSuite } from './lease_preservation_suite.ts'
import { leaseRollbackSuite } from './lease_rollback_suite.ts'
import { leaseStoreSuite } from './lease_store_suite.ts'
import { onceStoreSuite } from './once_store_suite.ts'
import { sqliteFileSuite } from './sqlite_file_suite.ts'
import {
  sqliteFileJobs,
  sqliteFileLeases,
  sqliteFileOnce,
  sqliteMemoryLeases,
  sqliteRollback,
} from './sqlite_harness.ts'

/** Stores that need no server, on Node and Deno. */
export const embeddedSuites: readonly Suite[] = [
  sqliteFileSuite,
  leaseStoreSuite('SQLite file', sqliteFileLeases),
  leaseStoreSuite('SQLite in memory', sqliteMemoryLeases),
  leasePreservationSuite('SQLite in memory', sqlitePreservation),
  leaseRollbackSuite('SQLite file', sqliteRollback),
  electionStoreSuite('SQLite file', sqliteFileElections),
  fenceSuite('SQLite file', sqliteFileFence),
  jobStoreSuite('SQLite file', sqliteFileJobs),
  onceStoreSuite('SQLite file', sqliteFileOnce),
  onceStoreSuite('memory', async () => {
    const clock = new FakeClock()
    const store = memoryOnce(clock)
    return { store, other: store, elapse: (ms) => clock.advance(ms), close: () => store.close() }
  }),
]
