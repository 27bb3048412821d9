import { newId } from '../../shared/base/random.ts'
import type { RedisCommands } from '../../shared/stores/redis_commands.ts'
import { redisOnce } from '../../shared/stores/redis_once.ts'
import { redisLeases } from '../../shared/stores/redis_store.ts'
import { realTime } from './expectations.ts'
import type { LeaseHarness } from './lease_harness.ts'
import type { OnceHarness } from './once_store_suite.ts'

/** A machine busy with other tests may be slow; slowness itself is tested elsewhere. */
export const CLIENT_TIMEOUT_MS = 20_000

/** Leases under a prefix of their own, so that cases do not see each other's. @param connect a new client each time */
export async function redisLeaseHarness(connect: () => RedisCommands): Promise<LeaseHarness> {
  const options = { prefix: newId('leases') }
  const [one, two] = [connect(), connect()]
  return {
    store: redisLeases(one, options),
    other: redisLeases(two, options),
    shortTtlMs: 80,
    elapse: realTime,
    async wipe() {
      await one.evaluate([{ script: { source: `return redis.call('FLUSHALL')` }, keys: [], args: [] }])
    },
    async close() {
      await Promise.all([one.quit(), two.quit()])
    },
  }
}

export async function redisOnceHarness(connect: () => RedisCommands): Promise<OnceHarness> {
  const options = { prefix: newId('once') }
  const [one, two] = [connect(), connect()]
  return {
    store: redisOnce(one, options),
    other: redisOnce(two, options),
    elapse: realTime,
    async close() {
      await Promise.all([one.quit(), two.quit()])
    },
  }
}
