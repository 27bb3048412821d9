import { upstashRedis } from '../../shared/stores/upstash_redis.ts'
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

/** Stores over Redis's REST, on every runtime. @param rest asked when a case begins */
export function restSuites(rest: () => { url: string; token: string }): readonly Suite[] {
  const connect = () => upstashRedis({ ...rest(), timeoutMs: CLIENT_TIMEOUT_MS })
  return [
    leaseStoreSuite('Redis over REST', () => redisLeaseHarness(connect)),
    leasePreservationSuite('Redis over REST', () => redisPreservationHarness(connect)),
    leaseRollbackSuite('Redis over REST', () => redisRollbackHarness(connect)),
    electionStoreSuite('Redis over REST', () => redisElectionHarness(connect)),
    fenceSuite('Redis over REST', () => redisFenceHarness(connect)),
    jobStoreSuite('Redis over REST', () => redisJobHarness(connect)),
    onceStoreSuite('Redis over REST', () => redisOnceHarness(connect)),
  ]
}
