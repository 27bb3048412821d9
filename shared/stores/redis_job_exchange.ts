/** The Lua of a consumer of jobs: it settles, takes and holds them. Keys as in redis_job_keys.ts. */
import { DEFAULTS } from '../base/defaults.ts'
import { REASONS } from './job_store.ts'
import { FATES, NAMES } from './redis_job_keys.ts'
import { NOW } from './redis_scripts.ts'

/** Jobs whose time is over that one exchange looks after: more wait for the next. */
const TENDED = 200

export const EXCHANGE = `
-- Settles attempts, looks after what has fallen due, and takes jobs.
-- KEYS  as FIXED_KEYS
-- ARGV  1 prefix  2 leaseMs  3 how many to take of lane model  4 of lane function  5 number of outcomes,
--       then for each: id, attempt, kind (done, failed, released, dead), text, delayMs, blobs
-- Returns {{1 or 0 for each outcome}, {lane, id, attempt, failures, owner, task, …}, ms until the next thing falls due
-- or -1, {ids to be forgotten that have blobs}}.
${NOW}${NAMES}${FATES}
local leaseMs, accepted = tonumber(ARGV[2]), {}
for i = 6, 5 + 6 * ARGV[5], 6 do
  local id, kind, text, delayMs = ARGV[i], ARGV[i + 2], ARGV[i + 3], tonumber(ARGV[i + 4])
  local job = P .. 'job:' .. id
  local has = call('HMGET', job, 'state', 'attempt', 'failures', 'keepMs')
  local isCurrent = has[1] == 'running' and has[2] == ARGV[i + 1]
  accepted[#accepted + 1] = isCurrent and 1 or 0
  if isCurrent then
    if kind == 'done' then
      call('HSET', job, 'result', text)
      if ARGV[i + 5] == '1' then call('HSET', job, 'blobs', 1) end
      call('HDEL', job, 'reason')
      finish(id, job, 'done', tonumber(has[4]))
    elseif kind == 'failed' then fail(id, job, text, delayMs)
    elseif kind == 'released' then putBack(id, job, delayMs)
    else bury(id, job, has[3] + 1, text) end
  end
end

local function due(set) return call('ZRANGEBYSCORE', set, '-inf', ms(nowMs), 'LIMIT', 0, ${TENDED}) end
for _, id in ipairs(due(running)) do
  local job = P .. 'job:' .. id
  local has = call('HMGET', job, 'state', 'failures')
  if has[1] == 'running' then
    -- Chance as good as any: the same for all replicas of this Redis.
    local chance = tonumber(string.sub(redis.sha1hex(id .. ms(nowMs)), 1, 8), 16) / 4294967296
    local spanMs = math.min(${DEFAULTS.jobRetryCapMs}, ${DEFAULTS.jobRetryBaseMs} * 2 ^ has[2])
    fail(id, job, '${REASONS.vanished}', math.floor(chance * spanMs))
  else call('ZREM', running, id) end
end
for _, id in ipairs(due(delayed)) do
  call('ZREM', delayed, id)
  ripen(id, P .. 'job:' .. id)
end
local withBlobs = {}
for _, id in ipairs(due(ends)) do
  local job = P .. 'job:' .. id
  local has = call('HMGET', job, 'state', 'failures', 'blobs', 'owner')
  if has[1] == 'queued' or has[1] == 'running' then bury(id, job, has[2], '${REASONS.overdue}')
  elseif has[3] == '1' then withBlobs[#withBlobs + 1] = id
  else forget(id, job, has[4]) end
end

local taken = {}
local function take(lane, max)
  for rank = 0, 2 do
    while max > 0 do
      local ids = call('LPOP', P .. 'ready:' .. lane .. ':' .. rank, max)
      if not ids then break end
      for _, id in ipairs(ids) do
        local job = P .. 'job:' .. id
        local has = call('HMGET', job, 'state', 'attempt', 'failures', 'owner', 'task')
        -- Not if it was cancelled in the meantime, or stands here twice for having died and been queued again.
        if has[1] == 'queued' then
          local attempt = has[2] + 1
          call('HSET', job, 'state', 'running', 'attempt', attempt, 'started', ms(nowMs))
          call('ZADD', running, ms(nowMs + leaseMs), id)
          for _, value in ipairs({ lane, id, attempt, tonumber(has[3]), has[4], has[5] }) do
            taken[#taken + 1] = value
          end
          max = max - 1
        end
      end
    end
  end
end
take('model', tonumber(ARGV[3]))
take('function', tonumber(ARGV[4]))

local next = math.huge
for _, set in ipairs({ running, delayed, ends }) do
  local first = call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if first[2] then next = math.min(next, tonumber(first[2])) end
end
return { accepted, taken, next == math.huge and -1 or math.max(0, next - nowMs), withBlobs }
`

export const EXTEND = `
-- Prolongs leases.
-- KEYS  as FIXED_KEYS
-- ARGV  1 prefix  2 leaseMs, then id, attempt of each
-- Returns 1 for each that still holds, else 0.
${NOW}${NAMES}
local held = {}
for i = 3, #ARGV, 2 do
  local has = call('HMGET', P .. 'job:' .. ARGV[i], 'state', 'attempt')
  local holds = has[1] == 'running' and has[2] == ARGV[i + 1]
  if holds then call('ZADD', running, ms(nowMs + ARGV[2]), ARGV[i]) end
  held[#held + 1] = holds and 1 or 0
end
return held
`
