import { encodeUtf8, toHex } from '../base/bytes.ts'
import { RpcError } from '../wire/errors.ts'

/** A reply in RESP2's shapes. Integers are exact up to 2^53. */
export type RedisReply = string | number | null | readonly RedisReply[]

/** One command of a pipeline that Redis turned down, in its own words, such as "NOSCRIPT No matching script". */
export interface RedisRefusal {
  refused: string
}

/** A Lua script by its source (EVAL) or the SHA-1 of it (EVALSHA). All keys must share a hash tag. */
export interface EvalCall {
  script: { source: string } | { sha1: string }
  keys: readonly string[]
  args: readonly string[]
}

/**
 * The few commands Shoal needs of Redis, over TCP (tcp_redis.ts) or REST (upstash_redis.ts). Nothing is tried twice: a
 * command may have taken effect though its answer was lost. Every method throws RpcError `unavailable` if Redis is out
 * of reach, late, or answers with something else than Redis does.
 */
export interface RedisCommands {
  /** Runs scripts in one round trip, in order; they are not one transaction. One reply or refusal for each. */
  evaluate(calls: readonly EvalCall[]): Promise<readonly (RedisReply | RedisRefusal)[]>
  /** SET key value NX PX ttlMs. Answers whether this call created the key. */
  setIfAbsent(key: string, value: string, ttlMs: number): Promise<boolean>
  /** GETDEL: takes the value away; of several callers one gets it. */
  take(key: string): Promise<string | undefined>
  ping(): Promise<void>
  /** Ends the connection; commands still in flight fail. */
  quit(): Promise<void>
}

export interface ScriptCall {
  /** The source, a constant of redis_scripts.ts. */
  script: string
  keys: readonly string[]
  args: readonly string[]
}

const sha1BySource = new Map<string, string>()

/**
 * Runs scripts by their hash in one round trip, and those that Redis does not have yet by their source in a second one
 * (after a restart or SCRIPT FLUSH; EVAL keeps them).
 * @throws RpcError `unavailable` if Redis refused any of them; the others have run
 */
export async function runScripts(redis: RedisCommands, calls: readonly ScriptCall[]): Promise<RedisReply[]> {
  if (calls.length === 0) return []
  const hashed = await Promise.all(
    calls.map(async (call) => ({ ...call, script: { sha1: await sha1Of(call.script) } })),
  )
  const replies = [...await redis.evaluate(hashed)]
  const missing = calls.map((_, i) => i).filter((i) => refusalOf(replies[i])?.startsWith('NOSCRIPT'))
  if (missing.length > 0) {
    const again = calls.filter((_, i) => missing.includes(i)).map((call) => ({
      ...call,
      script: { source: call.script },
    }))
    const late = await redis.evaluate(again)
    for (const [position, i] of missing.entries()) replies[i] = late[position] ?? null
  }
  return replies.map((reply) => accepted('EVALSHA', reply))
}

/** The reply to a command that must not have been refused. */
export function accepted(command: string, reply: RedisReply | RedisRefusal | undefined): RedisReply {
  const refusal = refusalOf(reply)
  if (refusal !== undefined) throw unavailable(`Redis must accept ${command}, got "${refusal}"`)
  return reply as RedisReply
}

/** @throws RpcError `unavailable`: what answered is not a sound Redis */
export function unexpected(command: string, reply: unknown): RpcError {
  const text = JSON.stringify(reply) ?? 'nothing'
  return unavailable(`Redis must answer ${command} in its usual form, got ${text.slice(0, 100)}`)
}

export function unavailable(requirement: string, cause?: unknown): RpcError {
  return new RpcError('unavailable', `Cannot use the store: ${requirement}`, { cause })
}

function refusalOf(reply: RedisReply | RedisRefusal | undefined): string | undefined {
  return reply !== null && typeof reply === 'object' && 'refused' in reply ? reply.refused : undefined
}

async function sha1Of(source: string): Promise<string> {
  const known = sha1BySource.get(source)
  if (known) return known
  const sha1 = toHex(new Uint8Array(await crypto.subtle.digest('SHA-1', encodeUtf8(source))))
  sha1BySource.set(source, sha1)
  return sha1
}
