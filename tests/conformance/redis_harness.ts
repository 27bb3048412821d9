import { newId } from '../../shared/base/random.ts'
import type { RedisCommands } from '../../shared/stores/redis_commands.ts'
import { redisOnce } from '../../shared/stores/redis_once.ts'
import { redisLeases } from '../../shared/stores/redis_store.ts'
import { realTime } from './expectations.ts'
import { redisCommand } from './redis_command.ts'
import type { LeaseHarness } from './lease_store_suite.ts'
import type { OnceHarness } from './once_store_suite.ts'

/**
 * Leases under a prefix of their own, so that cases do not see each other's.
 * @param url of the server over TCP  @param connect a new client of the kind under test each time
 */
export async function redisLeaseHarness(url: string, connect: () => RedisCommands): Promise<LeaseHarness> {
  const options = { prefix: newId('leases') }
  const [one, two] = [connect(), connect()]
  return {
    store: redisLeases(one, options),
    other: redisLeases(two, options),
    shortTtlMs: 80,
    elapse: realTime,
    async wipe() {
      await redisCommand(url, 'FLUSHALL')
      await redisCommand(url, 'SCRIPT', 'FLUSH')
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
