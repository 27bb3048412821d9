import { newId } from '../../shared/base/random.ts'
import type { RedisCommands } from '../../shared/stores/redis_commands.ts'
import { redisJobs } from '../../shared/stores/redis_jobs.ts'
import { realTime } from './expectations.ts'
import type { JobHarness } from './job_store_suite.ts'

/** Jobs under a prefix of their own, so that cases do not see each other's. @param connect a new client each time */
export async function redisJobHarness(connect: () => RedisCommands): Promise<JobHarness> {
  const options = { prefix: newId('jobs') }
  const [one, two] = [connect(), connect()]
  return {
    store: redisJobs(one, options),
    other: redisJobs(two, options),
    shortMs: 60,
    elapse: realTime,
    async close() {
      await Promise.all([one.quit(), two.quit()])
    },
  }
}
