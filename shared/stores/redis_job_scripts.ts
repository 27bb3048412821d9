/**
 * The Lua behind redis_jobs.ts, one script per operation. All keys share one hash tag, so that a cluster runs a script on
 * the node that has them all; those whose names depend on data are named in the script, from a prefix with that tag.
 *
 *   running    sorted set   id → when its lease ends, ms
 *   delayed    sorted set   id → when it may be taken, ms
 *   ends       sorted set   id → when it must be done, and once it is over, when it is forgotten, ms
 *   ready:<lane>:<rank>   list   ids that may be taken. One that was cancelled stays until it would have been taken
 *   job:<id>   hash         owner lane rank task maxAttempts ttlMs keepMs blobs (as submitted), state attempt failures
 *                           at started finished ends result reason. Before it is admitted it has no state
 *   dead:<owner>   sorted set   id → when it died, ms
 *   key:<name> hash         fingerprint batch count of an idempotency key
 *
 * All times are Redis's own.
 */
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { REASONS } from './job_store.ts'
import { NOW } from './redis_scripts.ts'

/** KEYS of every script below but READ: those of fixed names. ARGV[1] is the prefix of the others. */
export const FIXED_KEYS = [
  'running',
  'delayed',
  'ends',
  'ready:model:0',
  'ready:model:1',
  'ready:model:2',
  'ready:function:0',
  'ready:function:1',
  'ready:function:2',
] as const

/** Jobs whose time is over that one exchange looks after: more wait for the next. */
const TENDED = 200

const NAMES = `
local running, delayed, ends, P = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local call = redis.call
local function ms(value) return string.format('%.0f', value) end
`

export const STAGE = `
-- Writes jobs down before they are admitted: a large batch takes several of these, and they vanish if it is not finished.
-- KEYS  as FIXED_KEYS
-- ARGV  1 prefix, 2 owner, then for each job: id, lane, rank, task, maxAttempts, ttlMs, keepMs, blobs
-- Returns the number of jobs written.
${NAMES}
for i = 3, #ARGV, 8 do
  local job = P .. 'job:' .. ARGV[i]
  call('HSET', job, 'owner', ARGV[2], 'lane', ARGV[i + 1], 'rank', ARGV[i + 2], 'task', ARGV[i + 3],
    'maxAttempts', ARGV[i + 4], 'ttlMs', ARGV[i + 5], 'keepMs', ARGV[i + 6], 'blobs', ARGV[i + 7])
  call('PEXPIRE', job, ${DEFAULTS.stagedJobMs})
end
return (#ARGV - 2) / 8
`

export const ADMIT = `
-- Queues all jobs of a batch that were written down, or none.
-- KEYS  as FIXED_KEYS
-- ARGV  1 prefix  2 batch id  3 count  4 idempotency key or ''  5 fingerprint  6 maxTtlMs + maxKeepMs of the batch
-- Returns {'ok'}, {'known', batch id, count} if the key was used before, {'other'} if it was with another fingerprint,
-- {'full', waiting}, or {'lost'} if a job is not there any more. Only after 'ok' anything has changed.
${NOW}${NAMES}
local batch, count, key = ARGV[2], tonumber(ARGV[3]), P .. 'key:' .. ARGV[4]
if ARGV[4] ~= '' then
  local known = call('HMGET', key, 'fingerprint', 'batch', 'count')
  if known[1] then
    if known[1] ~= ARGV[5] then return { 'other' } end
    return { 'known', known[2], tonumber(known[3]) }
  end
end
local waiting = call('ZCARD', delayed)
for i = 4, #KEYS do waiting = waiting + call('LLEN', KEYS[i]) end
if waiting + count > ${LIMITS.maxQueuedJobs} then return { 'full', waiting } end
local ids, found = {}, {}
for i = 1, count do
  ids[i] = count == 1 and batch or batch .. '.' .. (i - 1)
  found[i] = call('HMGET', P .. 'job:' .. ids[i], 'lane', 'rank', 'ttlMs')
  if not found[i][1] then return { 'lost' } end
end
if ARGV[4] ~= '' then
  call('HSET', key, 'fingerprint', ARGV[5], 'batch', batch, 'count', count)
  call('PEXPIRE', key, ARGV[6])
end
for i, id in ipairs(ids) do
  local job, endsAtMs = P .. 'job:' .. id, ms(nowMs + found[i][3])
  call('HSET', job, 'state', 'queued', 'attempt', 0, 'failures', 0, 'at', ms(nowMs), 'ends', endsAtMs)
  call('PERSIST', job)
  call('ZADD', ends, endsAtMs, id)
  call('RPUSH', P .. 'ready:' .. found[i][1] .. ':' .. found[i][2], id)
end
return { 'ok' }
`

/** What becomes of a job: each of these needs NOW and NAMES. */
const FATES = `
local function finish(id, job, state, keepMs)
  local endsAtMs = ms(nowMs + keepMs)
  call('HSET', job, 'state', state, 'finished', ms(nowMs), 'ends', endsAtMs)
  call('ZREM', running, id)
  call('ZADD', ends, endsAtMs, id)
end
local function bury(id, job, failures, reason)
  call('HSET', job, 'failures', failures, 'reason', reason)
  finish(id, job, 'dead', ${DEFAULTS.deadJobMs})
  call('ZREM', delayed, id)
  call('ZADD', P .. 'dead:' .. call('HGET', job, 'owner'), nowMs, id)
end
local function ripen(id, job)
  local place = call('HMGET', job, 'lane', 'rank')
  -- To the front: it has waited before.
  if place[1] then call('LPUSH', P .. 'ready:' .. place[1] .. ':' .. place[2], id) end
end
local function putBack(id, job, delayMs)
  call('HSET', job, 'state', 'queued')
  call('ZREM', running, id)
  if delayMs > 0 then call('ZADD', delayed, ms(nowMs + delayMs), id) else ripen(id, job) end
end
local function fail(id, job, reason, delayMs)
  local has = call('HMGET', job, 'failures', 'maxAttempts')
  local failures = has[1] + 1
  if failures >= tonumber(has[2]) then return bury(id, job, failures, reason) end
  call('HSET', job, 'failures', failures, 'reason', reason)
  putBack(id, job, delayMs)
end
local function forget(id, job, owner)
  call('DEL', job)
  call('ZREM', ends, id)
  if owner then call('ZREM', P .. 'dead:' .. owner, id) end
end
`

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

export const READ = `
-- Reads jobs.
-- KEYS  the jobs' hashes
-- Returns for each {field, value, …}; {} if it is unknown.
local jobs = {}
for i, job in ipairs(KEYS) do jobs[i] = redis.call('HGETALL', job) end
return jobs
`

export const CANCEL = `
-- Cancels a job that is not over.
-- KEYS  as FIXED_KEYS
-- ARGV  1 prefix  2 id
-- Returns 1 if this call did, else 0.
${NOW}${NAMES}${FATES}
local id, job = ARGV[2], P .. 'job:' .. ARGV[2]
local has = call('HMGET', job, 'state', 'keepMs')
if has[1] ~= 'queued' and has[1] ~= 'running' then return 0 end
finish(id, job, 'canceled', tonumber(has[2]))
call('ZREM', delayed, id)
return 1
`

export const RETRY = `
-- Queues a dead job again, with all of its attempts before it.
-- KEYS  as FIXED_KEYS
-- ARGV  1 prefix  2 id
-- Returns 1 if it was dead, else 0.
${NOW}${NAMES}
local id, job = ARGV[2], P .. 'job:' .. ARGV[2]
local has = call('HMGET', job, 'state', 'lane', 'rank', 'ttlMs', 'owner')
if has[1] ~= 'dead' then return 0 end
local endsAtMs = ms(nowMs + has[4])
call('HSET', job, 'state', 'queued', 'failures', 0, 'ends', endsAtMs)
call('HDEL', job, 'finished')
call('ZADD', ends, endsAtMs, id)
call('ZREM', P .. 'dead:' .. has[5], id)
call('RPUSH', P .. 'ready:' .. has[2] .. ':' .. has[3], id)
return 1
`

export const DEAD = `
-- Reads the ids of an owner's dead jobs, the latest first.
-- KEYS  as FIXED_KEYS
-- ARGV  1 prefix  2 owner  3 limit
-- Returns the ids.
${NAMES}
return call('ZREVRANGE', P .. 'dead:' .. ARGV[2], 0, ARGV[3] - 1)
`

export const FORGET = `
-- Removes jobs that are over and whose time is over.
-- KEYS  as FIXED_KEYS
-- ARGV  1 prefix, then ids
-- Returns nothing.
${NOW}${NAMES}${FATES}
for i = 2, #ARGV do
  local id, job = ARGV[i], P .. 'job:' .. ARGV[i]
  local has = call('HMGET', job, 'state', 'ends', 'owner')
  local isOver = has[1] == 'done' or has[1] == 'dead' or has[1] == 'canceled'
  if isOver and tonumber(has[2]) <= nowMs then forget(id, job, has[3]) end
end
`

export const COUNTS = `
-- Counts jobs that wait, and that are being worked on.
-- KEYS  as FIXED_KEYS
-- ARGV  1 prefix
-- Returns {queued, running}.
${NAMES}
local queued = call('ZCARD', delayed)
for i = 4, #KEYS do queued = queued + call('LLEN', KEYS[i]) end
return { queued, call('ZCARD', running) }
`
