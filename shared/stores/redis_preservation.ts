import { DEFAULTS } from '../base/defaults.ts'
import { LONGEST_BEAT_SHARE } from './lease_store.ts'

/**
 * Self-preservation in Lua, for redis_scripts.ts; what it means is said in lease_store.ts. Needs `nowMs` and `bump`.
 *
 * Keys of a service beside those of redis_scripts.ts:
 *   fresh  sorted set   id of an instance that is not suspect → time from which it is, ms
 *   held   sorted set   id of an instance held back → time from which it is presumed dead, ms
 *   meta   hash         bornAtMs: when the service was first heard of; shortAtMs: when renewals were last seen to be short;
 *                       lookedAtMs: when somebody last beat or looked; longestBeatMs: the longest between two beats
 */
export const PRESERVE = `
local function suspectAtMs(ttlMs)
  return nowMs + math.floor(ttlMs * ${DEFAULTS.relaySuspectMs} / ${DEFAULTS.relayLeaseMs})
end

local function longestBeatMs(ttlMs)
  return math.ceil(ttlMs * ${LONGEST_BEAT_SHARE})
end

-- Adds to all times of a sorted set.
local function move(times, ms)
  local rows = redis.call('ZRANGE', times, 0, -1, 'WITHSCORES')
  for i = 1, #rows, 2 do redis.call('ZADD', times, string.format('%.0f', rows[i + 1] + ms), rows[i]) end
end

-- Notes that somebody beats or looks, before anything else: time that leapt or went back since is made good.
local function look(expiries, fresh, held, meta)
  local known = redis.call('HMGET', meta, 'lookedAtMs', 'longestBeatMs', 'shortAtMs')
  local passedMs, longestMs = nowMs - (tonumber(known[1]) or nowMs), tonumber(known[2]) or 0
  local leaptMs = passedMs < 0 and passedMs or math.max(0, passedMs - longestMs)
  -- After a failover the clock may differ a little: that is no leap.
  if passedMs < 0 and -passedMs <= longestMs then return end
  redis.call('HSET', meta, 'lookedAtMs', string.format('%.0f', nowMs))
  if leaptMs == 0 then return end
  if known[3] then redis.call('HSET', meta, 'shortAtMs', string.format('%.0f', known[3] + leaptMs)) end
  move(held, leaptMs)
  if leaptMs < 0 then
    move(expiries, leaptMs)
    move(fresh, leaptMs)
  end
end

-- Looks for leases that are over, and removes them or holds them back. The only place where an unrenewed lease ends.
-- Lives are remembered for a while yet, or a zombie woken later would pass for a new life.
local function evict(instances, expiries, revision, forgets, fresh, held, meta, recent)
  local changed = redis.call('ZREMRANGEBYSCORE', fresh, '-inf', nowMs) > 0
  -- Where all beat there is nothing to hold back, and a mere look writes nothing.
  if redis.call('ZCARD', fresh) < redis.call('ZCARD', expiries) then look(expiries, fresh, held, meta) end
  local expected = redis.call('ZCARD', expiries) - redis.call('ZCOUNT', held, '-inf', nowMs)
  local short = redis.call('ZCARD', fresh) < expected * ${DEFAULTS.leaseRenewalShare}
  if short then redis.call('HSET', meta, 'shortAtMs', string.format('%.0f', nowMs)) end
  local expired = redis.call('ZRANGEBYSCORE', expiries, '-inf', nowMs)
  if #expired > 0 then
    local sinceShortMs = nowMs - (tonumber(redis.call('HGET', meta, 'shortAtMs')) or -math.huge)
    for _, id in ipairs(expired) do
      local isHeld = redis.call('ZSCORE', held, id)
      -- Reading the record takes time, and there may be many: not while all are held anyway.
      if not (short and isHeld) then
        local record = redis.call('HGET', instances, id)
        local ttlMs = record and cjson.decode(record).ttlMs or 0
        if sinceShortMs < ttlMs then
          if not isHeld then redis.call('ZADD', held, nowMs + ttlMs * ${DEFAULTS.leaseHoldFactor}, id) end
        else
          redis.call('ZREM', expiries, id)
          redis.call('ZREM', held, id)
          redis.call('HDEL', instances, id)
          redis.call('ZADD', forgets, nowMs + ${DEFAULTS.lifeMemoryMs}, id)
          changed = true
        end
      end
    end
  end
  if changed then bump(revision, recent) end
end
`
