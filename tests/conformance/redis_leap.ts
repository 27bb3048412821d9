import type { RedisCommands } from '../../shared/stores/redis_commands.ts'

/**
 * A leap of its clock cannot be had from a real Redis, but the scripts only ever compare its time with what they stored:
 * what was stored an hour earlier has been stored before a leap of an hour. Revisions and births stay; the scripts compare
 * them with nothing.
 */
const LEAP = `#!lua flags=allow-cross-slot-keys
-- ARGV  1 prefix of the keys  2 by how many ms
for _, kind in ipairs({ 'expiries', 'fresh', 'held', 'forgets' }) do
  for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':{*}:' .. kind)) do
    local rows = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #rows, 2 do redis.call('ZADD', key, rows[i + 1] - ARGV[2], rows[i]) end
  end
end
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':{*}:meta')) do
  local shortAtMs = redis.call('HGET', key, 'shortAtMs')
  if shortAtMs then redis.call('HSET', key, 'shortAtMs', string.format('%.0f', shortAtMs - ARGV[2])) end
end
return 1
`

/** Makes all times that a Redis keeps of leases what they would be had its clock leapt forward. */
export async function leapRedisClock(redis: RedisCommands, prefix: string, ms: number): Promise<void> {
  const [reply] = await redis.evaluate([{ script: { source: LEAP }, keys: [], args: [prefix, String(ms)] }])
  if (reply !== 1) throw new Error(`Cannot make the clock leap: got ${JSON.stringify(reply)}`)
}
