import { sqliteFileElections, sqliteFileFence } from './election_harness.ts'
import { electionStoreSuite } from './election_store_suite.ts'
import { fenceSuite } from './fence_suite.ts'
import { register } from './vitest_suite.ts'

register(electionStoreSuite('SQLite file', sqliteFileElections))
register(fenceSuite('SQLite file', sqliteFileFence))
