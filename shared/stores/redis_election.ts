import { DEFAULTS } from '../base/defaults.ts'
import { checkStanding, checkTerm, type ElectionStore, type Standing } from './election_store.ts'
import { type RedisCommands, type RedisReply, runScripts, unexpected } from './redis_commands.ts'
import { NOW } from './redis_scripts.ts'

/*
 * KEYS[1] of each script is the election: a hash of candidate, epoch, endsAtMs and ttlMs of the last term, by Redis's own
 * time. It outlives the lease, so that epochs rise even where the clock does not.
 */

const ACQUIRE = `
-- Begins a term, unless the lease of another candidate lasts.
-- KEYS  1 election
-- ARGV  1 candidate  2 ttlMs
-- Returns {1, epoch}, or {0, how long the other's lease lasts in ms}.
${NOW}
local last = redis.call('HMGET', KEYS[1], 'candidate', 'epoch', 'endsAtMs', 'ttlMs')
local leftMs = (tonumber(last[3]) or 0) - nowMs
if last[1] and last[1] ~= ARGV[1] and leftMs > 0 then
  -- It lasts no longer than if it had been renewed right now: else the clock was set back in the meantime.
  local heldForMs = math.min(leftMs, tonumber(last[4]))
  if heldForMs < leftMs then
    redis.call('HSET', KEYS[1], 'endsAtMs', string.format('%.0f', nowMs + heldForMs))
  end
  return { 0, heldForMs }
end
local epoch = math.max((tonumber(last[2]) or 0) + 1, nowMs)
redis.call('HSET', KEYS[1], 'candidate', ARGV[1], 'epoch', string.format('%.0f', epoch),
  'endsAtMs', string.format('%.0f', nowMs + ARGV[2]), 'ttlMs', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ${DEFAULTS.electionMemoryMs})
return { 1, epoch }
`

/** Whether the term that ARGV[1] and ARGV[2] name is under way. */
const IS_CURRENT = `
local last = redis.call('HMGET', KEYS[1], 'candidate', 'epoch', 'endsAtMs')
local isCurrent = last[1] == ARGV[1] and last[2] == ARGV[2] and tonumber(last[3]) > nowMs
`

const RENEW_TERM = `
-- Prolongs the lease of a term that is under way.
-- KEYS  1 election
-- ARGV  1 candidate  2 epoch  3 ttlMs
-- Returns 1, or 0 if the term is over.
${NOW}${IS_CURRENT}
if not isCurrent then return 0 end
redis.call('HSET', KEYS[1], 'endsAtMs', string.format('%.0f', nowMs + ARGV[3]), 'ttlMs', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ${DEFAULTS.electionMemoryMs})
return 1
`

const RESIGN = `
-- Ends a term that is under way.
-- KEYS  1 election
-- ARGV  1 candidate  2 epoch
-- Returns nothing.
${NOW}${IS_CURRENT}
if isCurrent then redis.call('HSET', KEYS[1], 'endsAtMs', string.format('%.0f', nowMs)) end
`

/**
 * Elections in Redis 6.2 or later, by its clock.
 * @param redis stays the caller's to quit
 * @param options `prefix` of every key, 'shoal:election' by default
 */
export function redisElections(redis: RedisCommands, options: { prefix?: string } = {}): ElectionStore {
  const prefix = options.prefix ?? 'shoal:election'
  const run = async (script: string, name: string, args: string[]): Promise<RedisReply | undefined> => {
    const [reply] = await runScripts(redis, [{ script, keys: [`${prefix}:${name}`], args }])
    return reply
  }
  return {
    async acquire(name, candidate, ttlMs) {
      checkStanding(name, candidate, ttlMs)
      return standingOf(await run(ACQUIRE, name, [candidate, String(ttlMs)]))
    },
    async renew(name, candidate, epoch, ttlMs) {
      checkStanding(name, candidate, ttlMs)
      checkTerm(name, candidate, epoch)
      const reply = await run(RENEW_TERM, name, [candidate, String(epoch), String(ttlMs)])
      if (reply !== 0 && reply !== 1) throw unexpected('EVALSHA', reply)
      return reply === 1
    },
    async resign(name, candidate, epoch) {
      checkTerm(name, candidate, epoch)
      await run(RESIGN, name, [candidate, String(epoch)])
    },
    async close() {},
  }
}

function standingOf(reply: RedisReply | undefined): Standing {
  const [begun, number] = Array.isArray(reply) ? reply as readonly RedisReply[] : []
  if (typeof number !== 'number' || (begun !== 0 && begun !== 1)) throw unexpected('EVALSHA', reply)
  return begun === 1 ? { epoch: number } : { heldForMs: number }
}
