import { invalid } from '../wire/errors.ts'
import { byId, checkName, decodeRecord, type LeaseRow, rowsByService } from './lease_record.ts'
import type { Instance, LeasedInstance, LeaseStore, Listing } from './lease_store.ts'
import { type RedisCommands, type RedisReply, runScripts, type ScriptCall, unexpected } from './redis_commands.ts'
import { COUNT, ENLIST, LEAVE, LIST, NAMES, RENEW } from './redis_scripts.ts'

/**
 * Leases in Redis 6.2 or later, by its clock.
 * @param redis stays the caller's to quit
 * @param options `prefix` of every key, 'shoal:leases' by default: deployments that share a Redis take different ones
 */
export function redisLeases(redis: RedisCommands, options: { prefix?: string } = {}): LeaseStore {
  const prefix = options.prefix ?? 'shoal:leases'
  if (/[{}]/.test(prefix)) throw invalid(`Cannot use this prefix: it must have no braces, got "${prefix}"`)
  return new RedisLeases(redis, prefix)
}

class RedisLeases implements LeaseStore {
  readonly #redis: RedisCommands
  readonly #prefix: string
  readonly #namesKey: string

  constructor(redis: RedisCommands, prefix: string) {
    this.#redis = redis
    this.#prefix = prefix
    this.#namesKey = `${prefix}:services`
  }

  async renew(instances: readonly Instance[]): Promise<Instance[]> {
    const groups = [...rowsByService(instances)]
    if (groups.length === 0) return []
    const names = groups.flatMap(([service, rows]) => [service, String(longestTtlMs(rows))])
    const calls: ScriptCall[] = groups.map(([service, rows]) => {
      const keys = this.#keys(service)
      return {
        script: RENEW,
        keys: [
          ...[keys.instances, keys.expiries, keys.revision, keys.lives, keys.forgets],
          ...[keys.fresh, keys.held, keys.meta, keys.recent],
        ],
        args: rows.flatMap(({ instance, record }) => [
          instance.id,
          instance.incarnation,
          String(instance.ttlMs),
          record,
        ]),
      }
    })
    const replies = await runScripts(this.#redis, [
      { script: ENLIST, keys: [this.#namesKey], args: names },
      ...calls,
    ])
    return groups.flatMap(([, rows], i) => refusedOf(rows, replies[i + 1]))
  }

  async leave(service: string, id: string, incarnation: string): Promise<void> {
    checkName('instance id', id)
    checkName('incarnation', incarnation)
    const keys = this.#keys(service)
    await runScripts(this.#redis, [{
      script: LEAVE,
      keys: [
        ...[keys.instances, keys.expiries, keys.revision, keys.lives, keys.forgets],
        ...[keys.fresh, keys.held, keys.recent],
      ],
      args: [id, incarnation],
    }])
  }

  async list(service: string, sinceRevision?: number): Promise<Listing> {
    const keys = this.#keys(service)
    const [reply] = await runScripts(this.#redis, [{
      script: LIST,
      keys: [
        ...[keys.instances, keys.expiries, keys.revision, keys.forgets],
        ...[keys.fresh, keys.held, keys.meta, keys.recent],
      ],
      args: [sinceRevision === undefined ? '' : String(sinceRevision)],
    }])
    return listingOf(reply)
  }

  async services(): Promise<string[]> {
    const [reply] = await runScripts(this.#redis, [{ script: NAMES, keys: [this.#namesKey], args: [] }])
    if (!isTexts(reply)) throw unexpected('EVALSHA', reply)
    const counts = await runScripts(
      this.#redis,
      reply.map((name) => ({ script: COUNT, keys: [this.#keys(name).expiries], args: [] })),
    )
    return reply.filter((_, i) => counts[i] !== 0).sort()
  }

  async close(): Promise<void> {}

  /** Keys of one service. Its name is encoded, since a brace in it would move the hash tag. */
  #keys(service: string) {
    checkName('service', service)
    const tagged = `${this.#prefix}:{${encodeURIComponent(service)}}`
    return {
      instances: `${tagged}:instances`,
      expiries: `${tagged}:expiries`,
      revision: `${tagged}:revision`,
      lives: `${tagged}:lives`,
      forgets: `${tagged}:forgets`,
      fresh: `${tagged}:fresh`,
      held: `${tagged}:held`,
      meta: `${tagged}:meta`,
      recent: `${tagged}:recent`,
    }
  }
}

function longestTtlMs(rows: readonly LeaseRow[]): number {
  return rows.reduce((longest, { instance }) => Math.max(longest, instance.ttlMs), 0)
}

function refusedOf(rows: readonly LeaseRow[], reply: RedisReply | undefined): Instance[] {
  if (!isArray(reply)) throw unexpected('EVALSHA', reply)
  const positions = new Set(reply)
  return rows.filter((_, i) => positions.has(i)).map((row) => row.instance)
}

function listingOf(reply: RedisReply | undefined): Listing {
  if (!isArray(reply)) throw unexpected('EVALSHA', reply)
  const [revision, nowMs, records, ends, bornAtMs, recent] = reply
  if (typeof revision !== 'number') throw unexpected('EVALSHA', reply)
  if (reply.length === 1) return { revision, unchanged: true }
  if (
    typeof nowMs !== 'number' || !isTexts(records) || !isTexts(ends) || typeof bornAtMs !== 'string' || !isTexts(recent)
  ) {
    throw unexpected('EVALSHA', reply)
  }
  const recordById = new Map(pairs(records))
  const instances: LeasedInstance[] = []
  for (const [id, endsAtMs] of pairs(ends)) {
    const record = recordById.get(id)
    if (record !== undefined) instances.push(decodeRecord(record, Number(endsAtMs), nowMs))
  }
  instances.sort(byId)
  if (bornAtMs === '') return { revision, instances }
  return { revision, instances, bornAtMs: Number(bornAtMs), readAtMs: nowMs, recent: recent.map(Number) }
}

function* pairs(flat: readonly string[]): Generator<[string, string]> {
  for (let i = 0; i + 1 < flat.length; i += 2) yield [flat[i] ?? '', flat[i + 1] ?? '']
}

function isArray(reply: RedisReply | undefined): reply is readonly RedisReply[] {
  return Array.isArray(reply)
}

function isTexts(reply: RedisReply | undefined): reply is readonly string[] {
  return isArray(reply) && reply.every((element) => typeof element === 'string')
}
