import { createClient, ErrorReply } from 'redis'
import { type Clock, systemClock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { fullJitterMs, type Random } from '../base/random.ts'
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

export interface TcpRedisOptions {
  /** Longest wait for an answer, DEFAULTS.redisTimeoutMs by default. */
  timeoutMs?: number
  clock?: Clock
  random?: Random
}

type Client = ReturnType<typeof newClient>

interface Link {
  client: Client
  /** Fulfilled when the first attempt to connect has ended, well or badly. Commands wait for it, but not for later ones. */
  tried: Promise<void>
  /** Why the link last broke. */
  fault?: unknown
}

/**
 * Redis over TCP (Node, Deno). Connects in the background and again whenever the connection breaks; while there is none,
 * commands fail at once.
 * @param url redis[s]://[user:password@]host[:port][/database]
 * @throws RpcError `invalid_argument` if it is no such URL
 */
export function tcpRedis(url: string, options: TcpRedisOptions = {}): RedisCommands {
  return new TcpRedis(url, options)
}

class TcpRedis implements RedisCommands {
  readonly #url: string
  readonly #host: string
  readonly #timeoutMs: number
  readonly #clock: Clock
  readonly #random: Random
  #link: Link
  #closed = false

  constructor(url: string, options: TcpRedisOptions) {
    if (!/^rediss?:$/.test(URL.parse(url)?.protocol ?? '')) {
      // The URL may hold a password, so the message must not hold the URL.
      throw invalid('Cannot use Redis over TCP: its URL must start with redis:// or rediss://, got something else')
    }
    this.#url = url
    this.#host = new URL(url).host
    this.#timeoutMs = options.timeoutMs ?? DEFAULTS.redisTimeoutMs
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    this.#link = this.#open()
  }

  evaluate(calls: readonly EvalCall[]): Promise<readonly (RedisReply | RedisRefusal)[]> {
    return this.#send(calls.map(({ script, keys, args }) => {
      const [command, text] = 'sha1' in script ? ['EVALSHA', script.sha1] : ['EVAL', script.source]
      return [command, text, String(keys.length), ...keys, ...args]
    }))
  }

  async setIfAbsent(key: string, value: string, ttlMs: number): Promise<boolean> {
    return await this.#one(['SET', key, value, 'NX', 'PX', String(ttlMs)]) === 'OK'
  }

  async take(key: string): Promise<string | undefined> {
    const reply = await this.#one(['GETDEL', key])
    if (reply !== null && typeof reply !== 'string') throw unexpected('GETDEL', reply)
    return reply ?? undefined
  }

  async ping(): Promise<void> {
    await this.#one(['PING'])
  }

  async quit(): Promise<void> {
    this.#closed = true
    destroy(this.#link.client)
  }

  async #one(command: string[]): Promise<RedisReply> {
    const [reply] = await this.#send([command])
    return accepted(command[0] ?? '', reply)
  }

  async #send(commands: string[][]): Promise<(RedisReply | RedisRefusal)[]> {
    if (this.#closed) throw unavailable(`the connection to Redis at ${this.#host} must be open, got closed`)
    const link = this.#link
    let cancel = () => {}
    const late = new Promise<never>((_, reject) => {
      cancel = this.#clock.after(this.#timeoutMs, () => {
        this.#replace(link)
        reject(unavailable(`Redis at ${this.#host} must answer within ${this.#timeoutMs} ms, got no answer`))
      })
    })
    try {
      return await Promise.race([late, link.tried.then(() => Promise.all(commands.map((one) => sendOne(link, one))))])
    } catch (thrown) {
      if (thrown instanceof RpcError) throw thrown
      const reason = reasonOf(link.fault ?? thrown)
      throw unavailable(`Redis at ${this.#host} must be connected, got "${reason}"`, thrown)
    } finally {
      cancel()
    }
  }

  /**
   * Redis answers in order, so behind a late answer all are late, and a peer that is gone without a goodbye would be
   * waited for until TCP gives up, after a quarter of an hour. A new connection finds out.
   */
  #replace(link: Link): void {
    if (this.#link !== link || this.#closed) return
    this.#link = this.#open()
    destroy(link.client)
  }

  #open(): Link {
    const client = newClient(this.#url, (retries) =>
      fullJitterMs(
        retries,
        { baseMs: DEFAULTS.reconnectBaseMs, capMs: DEFAULTS.redisReconnectCapMs },
        this.#random,
      ))
    const tried = new Promise<void>((resolve) => {
      client.once('ready', resolve)
      client.once('error', () => resolve())
    })
    const link: Link = { client, tried }
    client.on('error', (fault: unknown) => link.fault = fault)
    // Rejects only when the client is destroyed before it was ready; until then it tries again.
    client.connect().catch(() => {})
    return link
  }
}

function newClient(url: string, reconnectStrategy: (retries: number) => number) {
  return createClient({
    url,
    RESP: 2,
    disableClientInfo: true,
    // Commands are refused while there is no connection, instead of waiting for one without end.
    disableOfflineQueue: true,
    // The library's time-out covers only the wait until a command is written; ours covers the answer too.
    commandOptions: { timeout: undefined },
    socket: { connectTimeout: DEFAULTS.redisTimeoutMs, reconnectStrategy },
  })
}

async function sendOne({ client }: Link, command: string[]): Promise<RedisReply | RedisRefusal> {
  try {
    return await client.sendCommand(command)
  } catch (thrown) {
    if (thrown instanceof ErrorReply) return { refused: thrown.message }
    throw thrown
  }
}

/** Destroyed while its socket connects, the client would leave that open for good, so it is destroyed again then. */
function destroy(client: Client): void {
  client.once('connect', () => client.destroy())
  client.destroy()
}

/** Node leaves the message empty when several addresses of one host failed; the code is there. */
function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  return thrown.message || String((thrown as NodeJS.ErrnoException).code ?? thrown.name)
}
