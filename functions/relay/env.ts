import type { Clock } from '../../shared/base/clock.ts'
import { systemClock } from '../../shared/base/clock.ts'
import { jsonLog, type Log, type LogLevel } from '../../shared/base/log.ts'
import type { LeaseStore } from '../../shared/stores/lease_store.ts'
import type { JobStore } from '../../shared/stores/job_store.ts'
import type { RedisCommands } from '../../shared/stores/redis_commands.ts'
import { redisJobs } from '../../shared/stores/redis_jobs.ts'
import { redisLeases } from '../../shared/stores/redis_store.ts'
import { upstashRedis } from '../../shared/stores/upstash_redis.ts'
import { RpcError } from '../../shared/wire/errors.ts'

/** Variables and secrets that a relay on Cloudflare reads; the gateway's come on top. */
export interface RelayEnv {
  UPSTASH_REDIS_REST_URL?: string
  UPSTASH_REDIS_REST_TOKEN?: string
  /** Signs enrolment tokens. */
  SHOAL_SECRET?: string
  /** The least level that is logged, 'info' by default. */
  SHOAL_LOG?: string
  /** Part of the calls that a second worker computes again (spot_checks.ts). */
  SHOAL_SPOT_CHECKS?: string
}

/** Wall time: what hibernating sockets keep is compared across lives of the object. */
export const wallClock: Clock = { now: () => Date.now(), after: systemClock.after }

/** Leases in the deployment's Redis. Where none is set, every use says so: the pages and the models work without. */
export function leasesOf(env: RelayEnv): LeaseStore {
  return redisLeases(redisOf(env) ?? noRedis)
}

/** Jobs in the deployment's Redis. */
export function jobsOf(env: RelayEnv): JobStore {
  return redisJobs(redisOf(env) ?? noRedis)
}

export function redisOf({ UPSTASH_REDIS_REST_URL: url, UPSTASH_REDIS_REST_TOKEN: token }: RelayEnv) {
  return url && token ? upstashRedis({ url, token }) : undefined
}

export function secretOf(env: RelayEnv): string {
  if (env.SHOAL_SECRET) return env.SHOAL_SECRET
  throw new RpcError('unavailable', 'Cannot enrol workers: the secret SHOAL_SECRET must be set, got none')
}

export function logOf(env: RelayEnv): Log {
  return jsonLog((env.SHOAL_LOG ?? 'info') as LogLevel, (line) => console.log(line))
}

const refuse = async (): Promise<never> => {
  throw new RpcError(
    'unavailable',
    'Cannot use the registry or jobs: UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN must be set, got none',
  )
}
const noRedis: RedisCommands = {
  evaluate: refuse,
  setIfAbsent: refuse,
  take: refuse,
  ping: refuse,
  async quit() {},
}
