import { errors, type Pipeline, Redis } from '@upstash/redis/cloudflare'
import { DEFAULTS } from '../base/defaults.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import {
  accepted,
  type EvalCall,
  type RedisCommands,
  type RedisRefusal,
  type RedisReply,
  unavailable,
  unexpected,
} from './redis_commands.ts'

export interface UpstashRedisOptions {
  /** UPSTASH_REDIS_REST_URL, without credentials in it. */
  url: string
  /** UPSTASH_REDIS_REST_TOKEN. */
  token: string
  /** Longest wait for an answer, DEFAULTS.redisTimeoutMs by default. */
  timeoutMs?: number
}

/**
 * Redis over Upstash's REST protocol, with `fetch` alone: for Workers, and anywhere else.
 * @throws RpcError `invalid_argument` for an unusable URL or token
 */
export function upstashRedis(options: UpstashRedisOptions): RedisCommands {
  return new UpstashRedis(options)
}

class UpstashRedis implements RedisCommands {
  readonly #redis: Redis
  readonly #host: string
  readonly #timeoutMs: number
  #closed = false

  constructor({ url, token, timeoutMs = DEFAULTS.redisTimeoutMs }: UpstashRedisOptions) {
    const parsed = URL.parse(url)
    if (!parsed || !/^https?:$/.test(parsed.protocol)) {
      throw invalid('Cannot use Redis over REST: its URL must start with https:// (or http://), got something else')
    }
    // fetch names a header it refuses in its error, secret and all; a stray newline is caught here instead.
    if (!/^[\x21-\x7e]+$/.test(token)) {
      throw invalid('Cannot use Redis over REST: its token must be visible ASCII without spaces, got something else')
    }
    this.#host = parsed.host
    this.#timeoutMs = timeoutMs
    this.#redis = new Redis({
      url: url.trim(),
      token,
      // A function, so that each request has its own. With one signal for all, an aborted GET answers null.
      signal: () => AbortSignal.timeout(timeoutMs),
      // Not `retry: false`, which tries twice. A repeated SET NX would answer that someone else had been first.
      retry: { retries: 0 },
      enableAutoPipelining: false,
      enableTelemetry: false,
      automaticDeserialization: false,
      // Our values are JSON text, so base64 would only make them larger and slower to read.
      responseEncoding: false,
    })
  }

  evaluate(calls: readonly EvalCall[]): Promise<(RedisReply | RedisRefusal)[]> {
    return this.#send((pipeline) => {
      for (const { script, keys, args } of calls) {
        if ('sha1' in script) pipeline.evalsha(script.sha1, [...keys], [...args])
        else pipeline.eval(script.source, [...keys], [...args])
      }
    })
  }

  async setIfAbsent(key: string, value: string, ttlMs: number): Promise<boolean> {
    return await this.#one('SET', (pipeline) => pipeline.set(key, value, { nx: true, px: ttlMs })) === 'OK'
  }

  async take(key: string): Promise<string | undefined> {
    const reply = await this.#one('GETDEL', (pipeline) => pipeline.getdel(key))
    if (reply !== null && typeof reply !== 'string') throw unexpected('GETDEL', reply)
    return reply ?? undefined
  }

  async ping(): Promise<void> {
    await this.#one('PING', (pipeline) => pipeline.ping())
  }

  async quit(): Promise<void> {
    this.#closed = true
  }

  async #one(command: string, fill: (pipeline: Pipeline) => void): Promise<RedisReply> {
    const [reply] = await this.#send(fill)
    return accepted(command, reply)
  }

  async #send(fill: (pipeline: Pipeline) => void): Promise<(RedisReply | RedisRefusal)[]> {
    if (this.#closed) throw unavailable(`the connection to Redis at ${this.#host} must be open, got closed`)
    const pipeline = this.#redis.pipeline()
    fill(pipeline)
    let answers: { result?: unknown; error?: string }[]
    try {
      answers = await pipeline.exec({ keepErrors: true })
    } catch (thrown) {
      throw this.#failure(thrown)
    }
    if (answers.length !== pipeline.length()) throw unexpected('a pipeline', answers)
    return answers.map(({ result, error }) => {
      if (error !== undefined) return { refused: String(error) }
      if (result === undefined) throw unexpected('a command', result)
      return result as RedisReply
    })
  }

  /** Any failure as `unavailable`. What the client says of a refusal repeats the whole command, values and all: cut off. */
  #failure(thrown: unknown): RpcError {
    if (thrown instanceof DOMException && thrown.name === 'TimeoutError') {
      return unavailable(`Redis at ${this.#host} must answer within ${this.#timeoutMs} ms, got no answer`)
    }
    if (thrown instanceof errors.UpstashJSONParseError) {
      return unavailable(`Redis at ${this.#host} must answer in JSON, got something else`, thrown)
    }
    if (thrown instanceof errors.UpstashError) {
      const reason = thrown.message.split(', command was:', 1)[0]
      return unavailable(`Redis at ${this.#host} must accept the request, got "${reason}"`)
    }
    return unavailable(`Redis at ${this.#host} must be reachable, got "${reasonOf(thrown)}"`, thrown)
  }
}

/** Node hides the reason of a failed fetch in its cause. */
function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  return thrown.cause instanceof Error ? thrown.cause.message : thrown.message
}
