import { join } from 'node:path'
import { makeFolder } from '../../shared/stores/file_folder.ts'
import type { JobStore } from '../../shared/stores/job_store.ts'
import type { LeaseStore } from '../../shared/stores/lease_store.ts'
import type { OnceStore } from '../../shared/stores/once_store.ts'
import type { RedisCommands } from '../../shared/stores/redis_commands.ts'
import { redisJobs } from '../../shared/stores/redis_jobs.ts'
import { redisOnce } from '../../shared/stores/redis_once.ts'
import { redisLeases } from '../../shared/stores/redis_store.ts'
import { openSqliteJobs } from '../../shared/stores/sqlite_jobs.ts'
import { openSqliteOnce } from '../../shared/stores/sqlite_once.ts'
import { openSqliteLeases } from '../../shared/stores/sqlite_store.ts'
import { upstashRedis } from '../../shared/stores/upstash_redis.ts'
import { RpcError } from '../../shared/wire/errors.ts'

export interface Stores {
  /** What was chosen, for people to read. */
  description: string
  leases: LeaseStore
  once: OnceStore
  jobs: JobStore
  close(): Promise<void>
}

/** The Redis that the environment names, if it names one: Upstash over REST, or any over TCP. */
export async function openRedis(
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ redis: RedisCommands; description: string } | undefined> {
  const { UPSTASH_REDIS_REST_URL: restUrl, UPSTASH_REDIS_REST_TOKEN: token, REDIS_URL: url } = env
  if (restUrl && token) return { redis: upstashRedis({ url: restUrl, token }), description: 'Redis over REST' }
  if (restUrl || token) {
    // One alone is a slip: to take SQLite instead would keep this gateway apart from the others without a word.
    const [given, missing] = restUrl ? ['URL', 'TOKEN'] : ['TOKEN', 'URL']
    const names = `UPSTASH_REDIS_REST_${missing} must be set as UPSTASH_REDIS_REST_${given} is`
    throw new RpcError('failed_precondition', `Cannot use Redis over REST: ${names}, got none`)
  }
  if (!url) return undefined
  // Its client is 700 modules, a quarter of the time that a process without Redis would take to start.
  const { tcpRedis } = await import('../../shared/stores/tcp_redis.ts')
  return { redis: tcpRedis(url), description: 'Redis over TCP' }
}

/** Chooses the store by environment: Upstash over REST, Redis over TCP, else SQLite in the data folder. */
export async function openStores(
  env: Readonly<Record<string, string | undefined>>,
  dataDir: string,
): Promise<Stores> {
  const shared = await openRedis(env)
  if (shared) return onRedis(shared.redis, shared.description)
  await makeFolder(dataDir)
  const path = join(dataDir, 'shoal.db')
  // The time of day, which processes that share the file agree on, and not a monotonic clock, which lags after a sleep.
  const [leases, once] = [openSqliteLeases(path, Date), openSqliteOnce(path, Date)]
  const jobs = openSqliteJobs(path, Date)
  return {
    description: `SQLite at ${path}`,
    leases,
    once,
    jobs,
    close: async () => void await Promise.all([leases.close(), once.close(), jobs.close()]),
  }
}

function onRedis(redis: RedisCommands, description: string): Stores {
  const jobs = redisJobs(redis)
  return { description, leases: redisLeases(redis), once: redisOnce(redis), jobs, close: () => redis.quit() }
}
