/**
 * The Lua behind redis_store.ts, one script per operation. Keys of one service share a hash tag, so a cluster runs a
 * script on one node; names of services live under a key of their own and in scripts of their own.
 *
 * Keys of a service:
 *   instances  hash         id → record (JSON)
 *   expiries   sorted set   id → time its lease ends, ms
 *   revision   string       see Listing in lease_store.ts
 *   recent     list         the latest revisions, this one last
 *   lives      hash         id → JSON array: the current incarnation ('' if it left), then those over, latest first
 *   forgets    sorted set   id of an instance that is gone → time its lives may be forgotten, ms
 *   fresh, held, meta       see redis_preservation.ts
 *
 * All times are Redis's own: no other clock is ever compared with it. The keys are left to expire together, a day after
 * the last renewal, so that a service no one asks about leaves nothing behind; the revision must not go later than the
 * table it speaks of (KEEPTTL below), or a reader would be told "unchanged" of a table that is gone.
 */
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { PRESERVE } from './redis_preservation.ts'

export const NOW = `
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
`

/** The greater of the predecessor + 1 and the time: after a loss of data it starts above all that was given out. */
const BUMP = `
local function bump(revision, recent)
  local nextRevision = math.max((tonumber(redis.call('GET', revision)) or 0) + 1, nowMs)
  local text = string.format('%.0f', nextRevision)
  redis.call('SET', revision, text, 'KEEPTTL')
  redis.call('RPUSH', recent, text)
  redis.call('LTRIM', recent, ${-LIMITS.maxRecentRevisions}, -1)
  if redis.call('PTTL', recent) < 0 then redis.call('PEXPIRE', recent, ${DEFAULTS.leaseKeyRetentionMs}) end
end
`

const LIVES = `
local function readLives(lives, id)
  local packed = redis.call('HGET', lives, id)
  return packed and cjson.decode(packed) or { '' }
end

local function isOver(list, incarnation)
  for i = 2, #list do
    if list[i] == incarnation then return true end
  end
  return false
end

-- Makes another incarnation ('' for none) the current one; the one before is over.
local function succeed(lives, id, list, incarnation)
  if list[1] ~= '' then table.insert(list, 2, list[1]) end
  list[1] = incarnation
  while #list > ${LIMITS.maxPastLives + 1} do table.remove(list) end
  redis.call('HSET', lives, id, cjson.encode(list))
end
`

export const RENEW = `
-- Registers or renews the leases of one service. A record that is new, or that the store had lost, is written whole.
-- KEYS  1 instances  2 expiries  3 revision  4 lives  5 forgets  6 fresh  7 held  8 meta  9 recent
-- ARGV  for each instance: id, incarnation, ttlMs, record
-- Returns the positions, from 0, of instances refused because their life is over.
${NOW}${BUMP}${PRESERVE}${LIVES}
-- Starts a lease. Returns whether readers saw no lease here, or a suspect.
local function start(id, ttlMs)
  redis.call('ZREM', KEYS[7], id)
  local added = redis.call('ZADD', KEYS[2], nowMs + ttlMs, id)
  return added + redis.call('ZADD', KEYS[6], suspectAtMs(ttlMs), id) > 0
end
redis.call('HSETNX', KEYS[8], 'bornAtMs', string.format('%.0f', nowMs))
look(KEYS[2], KEYS[6], KEYS[7], KEYS[8])
local longestMs = tonumber(redis.call('HGET', KEYS[8], 'longestBeatMs')) or 0
local refused = {}
local changed = false
for i = 1, #ARGV, 4 do
  local id, incarnation, record = ARGV[i], ARGV[i + 1], ARGV[i + 3]
  longestMs = math.max(longestMs, longestBeatMs(ARGV[i + 2]))
  if redis.call('HGET', KEYS[1], id) == record then
    if start(id, ARGV[i + 2]) then changed = true end
  else
    local list = readLives(KEYS[4], id)
    if isOver(list, incarnation) then
      table.insert(refused, (i - 1) / 4)
    else
      if list[1] ~= incarnation then succeed(KEYS[4], id, list, incarnation) end
      redis.call('ZREM', KEYS[5], id)
      redis.call('HSET', KEYS[1], id, record)
      start(id, ARGV[i + 2])
      changed = true
    end
  end
end
if changed then
  redis.call('HSET', KEYS[8], 'longestBeatMs', longestMs)
  bump(KEYS[3], KEYS[9])
end
evict(KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', nowMs, 'LIMIT', 0, 100)) do
  redis.call('HDEL', KEYS[4], id)
  redis.call('ZREM', KEYS[5], id)
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ${DEFAULTS.leaseKeyRetentionMs}) end
return refused
`

export const LEAVE = `
-- Ends the current life of an instance and removes it at once; from any other life it does nothing.
-- An incarnation never met is remembered as over too: the beat that was to introduce it may still be on its way.
-- KEYS  1 instances  2 expiries  3 revision  4 lives  5 forgets  6 fresh  7 held  8 recent
-- ARGV  1 id  2 incarnation
-- Returns 1 if the instance was removed, else 0.
${NOW}${BUMP}${LIVES}
local id, incarnation = ARGV[1], ARGV[2]
local list = readLives(KEYS[4], id)
if isOver(list, incarnation) or (list[1] ~= '' and list[1] ~= incarnation) then return 0 end
list[1] = incarnation
succeed(KEYS[4], id, list, '')
redis.call('ZADD', KEYS[5], nowMs + ${DEFAULTS.lifeMemoryMs}, id)
redis.call('PEXPIRE', KEYS[4], ${DEFAULTS.leaseKeyRetentionMs})
redis.call('PEXPIRE', KEYS[5], ${DEFAULTS.leaseKeyRetentionMs})
for _, i in ipairs({ 2, 6, 7 }) do redis.call('ZREM', KEYS[i], id) end
local removed = redis.call('HDEL', KEYS[1], id)
if removed == 1 then bump(KEYS[3], KEYS[8]) end
return removed
`

export const LIST = `
-- Reads the table of a service, after dropping what has expired.
-- KEYS  1 instances  2 expiries  3 revision  4 forgets  5 fresh  6 held  7 meta  8 recent
-- ARGV  1 the revision the caller has, or ''
-- Returns {revision} if it is still that one, else
-- {revision, nowMs, {id, record, …}, {id, end of lease in ms, …}, bornAtMs as text, or '', {recent revisions as text}}.
${NOW}${BUMP}${PRESERVE}
evict(unpack(KEYS))
-- A server short of memory may have evicted the revision alone: what it spoke of must not count as unchanged.
if redis.call('EXISTS', KEYS[3]) == 0 and redis.call('EXISTS', KEYS[2]) == 1 then bump(KEYS[3], KEYS[8]) end
local revision = tonumber(redis.call('GET', KEYS[3])) or 0
if tonumber(ARGV[1]) == revision then return { revision } end
local records, ends = redis.call('HGETALL', KEYS[1]), redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
local bornAtMs = redis.call('HGET', KEYS[7], 'bornAtMs') or ''
return { revision, nowMs, records, ends, bornAtMs, redis.call('LRANGE', KEYS[8], 0, -1) }
`

export const COUNT = `
-- Counts the live instances of a service.
-- KEYS  1 expiries
-- Returns the count.
${NOW}
return redis.call('ZCOUNT', KEYS[1], '(' .. string.format('%.0f', nowMs), '+inf')
`

export const ENLIST = `
-- Notes names of services, each until the longest lease given under it would end.
-- KEYS  1 names (sorted set: name → time, ms)
-- ARGV  for each service: name, ttlMs
-- Returns nothing.
${NOW}
for i = 1, #ARGV, 2 do
  local untilMs = nowMs + ARGV[i + 1]
  local known = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i])) or 0
  if untilMs > known then redis.call('ZADD', KEYS[1], untilMs, ARGV[i]) end
end
redis.call('PEXPIRE', KEYS[1], ${DEFAULTS.leaseKeyRetentionMs})
`

export const NAMES = `
-- Reads the names of services that may have live instances: one whose last instance left early is still among them.
-- KEYS  1 names
-- Returns the names.
${NOW}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', nowMs)
return redis.call('ZRANGE', KEYS[1], 0, -1)
`
