import type { RedisCommands } from '../../shared/stores/redis_commands.ts'

/**
 * A leap of its clock cannot be had from a real Redis, but the scripts only ever compare its time with what they stored:
 * what was stored an hour earlier has been stored before a leap of an hour. Revisions and births stay; the scripts compare
 * them with nothing.
 */
const LEAP = `#!lua flags=allow-cross-slot-keys
-- ARGV  1 prefix of the keys  2 by how many ms  3 '1' if nobody looked meanwhile
for _, kind in ipairs({ 'expiries', 'fresh', 'held', 'forgets' }) do
  for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':{*}:' .. kind)) do
    local rows = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #rows, 2 do redis.call('ZADD', key, rows[i + 1] - ARGV[2], rows[i]) end
  end
end
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':{*}:meta')) do
  for _, field in ipairs({ 'shortAtMs', ARGV[3] == '1' and 'lookedAtMs' or nil }) do
    local atMs = redis.call('HGET', key, field)
    if atMs then redis.call('HSET', key, field, string.format('%.0f', atMs - ARGV[2])) end
  end
end
return 1
`

/** Makes all times that a Redis keeps of leases what they would be had its clock leapt forward, or back below 0. */
export async function leapRedisClock(redis: RedisCommands, prefix: string, ms: number): Promise<void> {
  await shift(redis, prefix, ms, '1')
}

/** Makes them what they would be had so much time passed while somebody looked all along. */
export async function passRedisTime(redis: RedisCommands, prefix: string, ms: number): Promise<void> {
  await shift(redis, prefix, ms, '0')
}

async function shift(redis: RedisCommands, prefix: string, ms: number, isLeap: '0' | '1'): Promise<void> {
  const [reply] = await redis.evaluate([{ script: { source: LEAP }, keys: [], args: [prefix, String(ms), isLeap] }])
  if (reply !== 1) throw new Error(`Cannot make the clock leap: got ${JSON.stringify(reply)}`)
}
