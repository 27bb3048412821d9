import { LIMITS } from '../base/limits.ts'
import { invalid } from '../wire/errors.ts'
import {
  checkBatch,
  type Exchanged,
  JOB_PRIORITIES,
  type JobBatch,
  jobId,
  type JobPhase,
  type JobState,
  type JobStore,
  type Lane,
  otherPayload,
  type Outcome,
  queueFull,
  rankOf,
  type Submitted,
  type TakenJob,
} from './job_store.ts'
import { type RedisCommands, type RedisReply, runScripts, unavailable, unexpected } from './redis_commands.ts'
import { EXCHANGE, EXTEND } from './redis_job_exchange.ts'
import { FIXED_KEYS } from './redis_job_keys.ts'
import { ADMIT, CANCEL, COUNTS, DEAD, FORGET, READ, RETRY, STAGE } from './redis_job_scripts.ts'

/** Characters of one request to Redis: Upstash takes 1 MB, and non-ASCII text is up to three times as long in bytes. */
const MAX_STAGED_LENGTH = 256 * 1024

/**
 * Jobs in Redis 6.2 or later, by its clock. As durable as that Redis is: with `appendfsync always` an acknowledged job
 * outlives a power cut, with `everysec` the last second's may not. It must not evict (`maxmemory-policy noeviction`): then
 * a Redis that is full refuses jobs, and loses none.
 * @param redis stays the caller's to quit
 * @param options `prefix` of every key, 'shoal:jobs' by default: deployments that share a Redis take different ones
 */
export function redisJobs(redis: RedisCommands, options: { prefix?: string } = {}): JobStore {
  const prefix = options.prefix ?? 'shoal:jobs'
  if (/[{}]/.test(prefix)) throw invalid(`Cannot use this prefix: it must have no braces, got "${prefix}"`)
  const names = `{${prefix}}:`
  const keys = FIXED_KEYS.map((key) => names + key)
  const scriptCall = (script: string, args: readonly string[]) => ({ script, keys, args: [names, ...args] })
  const run = async (script: string, args: readonly string[]): Promise<RedisReply | undefined> => {
    const [reply] = await runScripts(redis, [scriptCall(script, args)])
    return reply
  }

  async function submit(batch: JobBatch): Promise<Submitted> {
    checkBatch(batch)
    const { id, jobs, key } = batch
    const stages = staged(batch).map((args) => scriptCall(STAGE, args))
    const lifeMs = Math.max(...jobs.map(({ ttlMs, keepMs }) => ttlMs + keepMs))
    const admit = scriptCall(ADMIT, [
      id,
      String(jobs.length),
      key?.name ?? '',
      key?.fingerprint ?? '',
      String(lifeMs),
    ])
    // Each in a request of its own, but for the last: a usual submission is one round trip.
    for (const stage of stages.slice(0, -1)) await runScripts(redis, [stage])
    const replies = await runScripts(redis, [...stages.slice(-1), admit])
    const reply = replies.at(-1)
    const [verdict, first, second] = listOf(reply)
    if (verdict === 'ok') return { id, count: jobs.length, replayed: false }
    if (verdict === 'known' && typeof first === 'string' && typeof second === 'number') {
      return { id: first, count: second, replayed: true }
    }
    if (verdict === 'other') throw otherPayload()
    if (verdict === 'full') throw queueFull(Number(first))
    if (verdict === 'lost') throw unavailable('Redis must keep what it was given, got a job that is not there any more')
    throw unexpected('EVALSHA', reply)
  }

  return {
    submit,
    async exchange({ outcomes, take, leaseMs }) {
      const max = (lane: Lane) => String(Math.max(0, Math.min(take[lane], LIMITS.maxJobsTaken)))
      const args = [String(leaseMs), max('model'), max('function'), String(outcomes.length)]
      return exchangedOf(await run(EXCHANGE, [...args, ...outcomes.flatMap(outcomeArgs)]))
    },
    async extend(claims, leaseMs) {
      const args = claims.flatMap(({ id, attempt }) => [id, String(attempt)])
      return listOf(await run(EXTEND, [String(leaseMs), ...args])).map((held) => held === 1)
    },
    async read(ids) {
      if (ids.length === 0) return []
      const [found] = await runScripts(redis, [{ script: READ, keys: ids.map((id) => `${names}job:${id}`), args: [] }])
      return listOf(found).map((fields, i) => stateOf(ids[i] ?? '', textsOf(fields)))
    },
    cancel: async (id) => await run(CANCEL, [id]) === 1,
    retry: async (id) => await run(RETRY, [id]) === 1,
    dead: async (owner, limit) => [...textsOf(await run(DEAD, [owner, String(limit)]))],
    async forget(ids) {
      if (ids.length > 0) await run(FORGET, ids)
    },
    async counts() {
      const [queued, running] = listOf(await run(COUNTS, []))
      return { queued: Number(queued), running: Number(running) }
    },
    async close() {},
  }
}

/** Arguments of STAGE, once for each request that is needed. */
function staged({ id, owner, jobs }: JobBatch): string[][] {
  const requests: string[][] = []
  let length = Infinity
  for (const [i, job] of jobs.entries()) {
    if (length + job.task.length > MAX_STAGED_LENGTH) {
      requests.push([owner])
      length = 0
    }
    length += job.task.length + STAGED_OVERHEAD
    requests.at(-1)?.push(
      jobId(id, i, jobs.length),
      job.lane,
      String(rankOf(job.priority)),
      job.task,
      String(job.maxAttempts),
      String(job.ttlMs),
      String(job.keepMs),
      job.hasBlobs ? '1' : '0',
    )
  }
  return requests
}

/** Characters of a job beside its task, as they are written in a request. */
const STAGED_OVERHEAD = 128

function outcomeArgs(outcome: Outcome): string[] {
  const { id, attempt, kind } = outcome
  const text = kind === 'done' ? outcome.result : kind === 'released' ? '' : outcome.reason
  const delayMs = 'delayMs' in outcome ? Math.ceil(outcome.delayMs) : 0
  return [id, String(attempt), kind, text, String(delayMs), kind === 'done' && outcome.hasBlobs ? '1' : '0']
}

function exchangedOf(reply: RedisReply | undefined): Exchanged {
  const [accepted, taken, dueInMs, forgotten] = listOf(reply)
  if (typeof dueInMs !== 'number') throw unexpected('EVALSHA', reply)
  const values = listOf(taken)
  const jobs: TakenJob[] = []
  for (let i = 0; i + 5 < values.length; i += 6) {
    const [lane, id, attempt, failures, owner, task] = values.slice(i, i + 6)
    jobs.push({
      lane: lane as Lane,
      id: String(id),
      attempt: Number(attempt),
      failures: Number(failures),
      owner: String(owner),
      task: String(task),
    })
  }
  return {
    accepted: listOf(accepted).map((one) => one === 1),
    jobs,
    dueInMs: dueInMs < 0 ? undefined : dueInMs,
    forgotten: [...textsOf(forgotten)],
  }
}

/** @returns undefined for one that is unknown, or not admitted */
function stateOf(id: string, fields: readonly string[]): JobState | undefined {
  const values: Record<string, string> = {}
  for (let i = 0; i + 1 < fields.length; i += 2) values[fields[i] ?? ''] = fields[i + 1] ?? ''
  const { owner = '', state, task = '', result, reason, started, finished } = values
  if (state === undefined) return undefined
  return {
    id,
    owner,
    state: state as JobPhase,
    task,
    priority: JOB_PRIORITIES[Number(values.rank)] ?? 'normal',
    attempt: Number(values.attempt),
    failures: Number(values.failures),
    maxAttempts: Number(values.maxAttempts),
    submittedAtMs: Number(values.at),
    endsAtMs: Number(values.ends),
    ...(started !== undefined && { startedAtMs: Number(started) }),
    ...(finished !== undefined && { finishedAtMs: Number(finished) }),
    ...(result !== undefined && { result }),
    ...(reason !== undefined && { reason }),
  }
}

function listOf(reply: RedisReply | undefined): readonly RedisReply[] {
  if (!Array.isArray(reply)) throw unexpected('EVALSHA', reply)
  return reply as readonly RedisReply[]
}

function textsOf(reply: RedisReply | undefined): readonly string[] {
  const list = listOf(reply)
  if (!list.every((element) => typeof element === 'string')) throw unexpected('EVALSHA', reply)
  return list as readonly string[]
}
