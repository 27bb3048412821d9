import { checkClaim, type OnceStore } from './once_store.ts'
import type { RedisCommands } from './redis_commands.ts'

/**
 * Single-use keys in Redis, by its clock. A Redis that loses its data, or fails over to a replica that had not heard of
 * a claim yet, lets a key be claimed again: tokens must be short-lived.
 * @param redis stays the caller's to quit
 * @param options `prefix` of every key, 'shoal:once' by default
 */
export function redisOnce(redis: RedisCommands, options: { prefix?: string } = {}): OnceStore {
  const prefix = options.prefix ?? 'shoal:once'
  return {
    async claim(key, ttlMs) {
      return await redis.setIfAbsent(`${prefix}:${key}`, '1', checkClaim(key, ttlMs))
    },
    async close() {},
  }
}
