import { tcpRedis } from '../../shared/stores/tcp_redis.ts'
import type { Suite } from '../suite.ts'
import { electionStoreSuite } from './election_store_suite.ts'
import { fenceSuite } from './fence_suite.ts'
import { redisJobHarness } from './job_harness.ts'
import { jobStoreSuite } from './job_store_suite.ts'
import { leasePreservationSuite } from './lease_preservation_suite.ts'
import { leaseRollbackSuite } from './lease_rollback_suite.ts'
import { leaseStoreSuite } from './lease_store_suite.ts'
import { redisElectionHarness, redisFenceHarness, redisPreservationHarness } from './redis_election_harness.ts'
import { onceStoreSuite } from './once_store_suite.ts'
import { CLIENT_TIMEOUT_MS, redisLeaseHarness, redisOnceHarness, redisRollbackHarness } from './redis_harness.ts'

/** Stores over Redis's TCP, on Node and Deno. @param url asked when a case begins */
export function tcpSuites(name: string, url: () => string): readonly Suite[] {
  const connect = () => tcpRedis(url(), { timeoutMs: CLIENT_TIMEOUT_MS })
  return [
    leaseStoreSuite(name, () => redisLeaseHarness(connect)),
    leasePreservationSuite(name, () => redisPreservationHarness(connect)),
    leaseRollbackSuite(name, () => redisRollbackHarness(connect)),
    electionStoreSuite(name, () => redisElectionHarness(connect)),
    fenceSuite(name, () => redisFenceHarness(connect)),
    jobStoreSuite(name, () => redisJobHarness(connect)),
    onceStoreSuite(name, () => redisOnceHarness(connect)),
  ]
}
