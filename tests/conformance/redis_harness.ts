import { newId } from '../../shared/base/random.ts'
import type { RedisCommands } from '../../shared/stores/redis_commands.ts'
import { redisOnce } from '../../shared/stores/redis_once.ts'
import { redisLeases } from '../../shared/stores/redis_store.ts'
import { realTime } from './expectations.ts'
import type { LeaseHarness } from './lease_harness.ts'
import type { RollbackHarness } from './lease_rollback_suite.ts'
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

const SNAPSHOT = `#!lua flags=allow-cross-slot-keys
-- Copies each key of a service beside itself, or back.
-- ARGV  1 prefix of the keys  2 'keep' or 'restore'
local keys = redis.call('KEYS', ARGV[1] .. ':{*}:*')
for _, key in ipairs(keys) do
  local isKept = string.sub(key, -5) == '.kept'
  if ARGV[2] == 'keep' and not isKept then redis.call('COPY', key, key .. '.kept', 'REPLACE') end
  if ARGV[2] == 'restore' and not isKept then redis.call('DEL', key) end
end
for _, key in ipairs(keys) do
  if ARGV[2] == 'restore' and string.sub(key, -5) == '.kept' then redis.call('RENAME', key, string.sub(key, 1, -6)) end
end
return 1
`

/** Leases of which Redis goes back to how they were. */
export async function redisRollbackHarness(connect: () => RedisCommands): Promise<RollbackHarness> {
  const prefix = newId('leases')
  const redis = connect()
  const run = async (what: 'keep' | 'restore') => {
    const [reply] = await redis.evaluate([{ script: { source: SNAPSHOT }, keys: [], args: [prefix, what] }])
    if (reply !== 1) throw new Error(`Cannot ${what} the keys: got ${JSON.stringify(reply)}`)
    await realTime(2)
  }
  return {
    store: redisLeases(redis, { prefix }),
    async snapshot() {
      await run('keep')
      return () => run('restore')
    },
    close: () => redis.quit(),
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
