import { newId } from '../../shared/base/random.ts'
import type { RedisCommands } from '../../shared/stores/redis_commands.ts'
import { redisElections } from '../../shared/stores/redis_election.ts'
import { redisFence } from '../../shared/stores/redis_fence.ts'
import { redisLeases } from '../../shared/stores/redis_store.ts'
import type { ElectionHarness } from './election_store_suite.ts'
import { realTime } from './expectations.ts'
import type { FenceHarness } from './fence_suite.ts'
import type { PreservationHarness } from './lease_preservation_suite.ts'
import { leapRedisClock, passRedisTime } from './redis_leap.ts'

/**
 * A leap of the clock cannot be had from a real Redis, but scripts only ever compare its time with what they stored: what
 * was stored an hour later has been stored before a leap an hour back. The epoch stays, being compared with none.
 */
const LEAP = `#!lua flags=allow-cross-slot-keys
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local endsAtMs = tonumber(redis.call('HGET', key, 'endsAtMs'))
  redis.call('HSET', key, 'endsAtMs', string.format('%.0f', endsAtMs - ARGV[2]))
end
`

/** Elections under a prefix of their own, so that cases do not see each other's. @param connect a new client each time */
export async function redisElectionHarness(connect: () => RedisCommands): Promise<ElectionHarness> {
  const prefix = newId('elections')
  const [one, two] = [connect(), connect()]
  const run = (source: string, args: string[] = []) => one.evaluate([{ script: { source }, keys: [], args }])
  return {
    store: redisElections(one, { prefix }),
    other: redisElections(two, { prefix }),
    shortTtlMs: 80,
    elapse: realTime,
    async leap(ms) {
      await run(LEAP, [`${prefix}:*`, String(ms)])
    },
    async wipe() {
      await run(`return redis.call('FLUSHALL')`)
    },
    async close() {
      await Promise.all([one.quit(), two.quit()])
    },
  }
}

export async function redisFenceHarness(connect: () => RedisCommands): Promise<FenceHarness> {
  const options = { prefix: newId('fences') }
  const [one, two] = [connect(), connect()]
  return {
    store: redisFence(one, options),
    other: redisFence(two, options),
    async close() {
      await Promise.all([one.quit(), two.quit()])
    },
  }
}

export async function redisPreservationHarness(connect: () => RedisCommands): Promise<PreservationHarness> {
  const prefix = newId('leases')
  const redis = connect()
  return {
    store: redisLeases(redis, { prefix }),
    elapse: (ms) => passRedisTime(redis, prefix, ms),
    leap: (ms) => leapRedisClock(redis, prefix, ms),
    close: () => redis.quit(),
  }
}
