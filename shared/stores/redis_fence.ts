import { checkFenced, type Fenced, type FencedStore, superseded } from './fence.ts'
import { type RedisCommands, type RedisReply, runScripts, unexpected } from './redis_commands.ts'

const WRITE = `
-- Admits an epoch, and writes the value that comes with it, unless a higher one was here.
-- KEYS  1 fence (hash: epoch, value)
-- ARGV  1 epoch  2 value, or nothing
-- Returns the highest epoch admitted, as text: above ARGV[1] if this one was refused.
local highest = redis.call('HGET', KEYS[1], 'epoch') or '0'
if tonumber(ARGV[1]) < tonumber(highest) then return highest end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
if ARGV[2] then redis.call('HSET', KEYS[1], 'value', ARGV[2]) end
return ARGV[1]
`

const READ = `
-- Reads a fence.
-- KEYS  1 fence
-- Returns {epoch} or {epoch, value} as texts, or {} if it is unknown.
local fence = redis.call('HMGET', KEYS[1], 'epoch', 'value')
if not fence[1] then return {} end
return fence[2] and fence or { fence[1] }
`

/**
 * Fenced values in Redis. As durable as that Redis is: one that loses its last writes may admit an earlier term again, so
 * that what must not regress belongs in a store that does not (sqlite_fence.ts).
 * @param redis stays the caller's to quit
 * @param options `prefix` of every key, 'shoal:fence' by default
 */
export function redisFence(redis: RedisCommands, options: { prefix?: string } = {}): FencedStore {
  const prefix = options.prefix ?? 'shoal:fence'
  const run = async (script: string, name: string, args: string[]): Promise<RedisReply | undefined> => {
    const [reply] = await runScripts(redis, [{ script, keys: [`${prefix}:${name}`], args }])
    return reply
  }
  const write = async (name: string, epoch: number, args: string[]) => {
    const highest = await run(WRITE, name, [String(epoch), ...args])
    if (typeof highest !== 'string') throw unexpected('EVALSHA', highest)
    if (Number(highest) > epoch) throw superseded(name, epoch, Number(highest))
  }
  return {
    async admit(name, epoch) {
      checkFenced(name, epoch)
      await write(name, epoch, [])
    },
    async put(name, epoch, value) {
      checkFenced(name, epoch, value)
      await write(name, epoch, [value])
    },
    async get(name): Promise<Fenced | undefined> {
      checkFenced(name, 0)
      const reply = await run(READ, name, [])
      if (!Array.isArray(reply) || reply.some((part) => typeof part !== 'string')) throw unexpected('EVALSHA', reply)
      const [epoch, value] = reply as string[]
      return epoch === undefined ? undefined : { epoch: Number(epoch), value }
    },
    async close() {},
  }
}
