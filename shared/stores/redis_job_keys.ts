/**
 * What redis_jobs.ts keeps in Redis, and the Lua that all of its scripts share. All keys share one hash tag, so that a cluster
 * runs a script on the node that has them all; those whose names depend on data are named in the script, from a prefix with
 * that tag.
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

/** KEYS of every script but READ: those of fixed names. ARGV[1] is the prefix of the others. */
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

/** Short names in a script. */
export const NAMES = `
local running, delayed, ends, P = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local call = redis.call
local function ms(value) return string.format('%.0f', value) end
`

/** What becomes of a job: each of these needs NOW and NAMES. */
export const FATES = `
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
