/** The Lua of those who submit jobs and ask for them, one script per operation. Keys as in redis_job_keys.ts. */
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { FATES, NAMES } from './redis_job_keys.ts'
import { NOW } from './redis_scripts.ts'

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
