/**
 * Upstash's REST protocol in front of an ordinary Redis, for tests and for running the Workers build locally.
 * As a program: node infra/redis_rest.ts --redis redis://127.0.0.1:6379 --token TOKEN [--port 8079]
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { parseArgs } from 'node:util'
import { createClient, ErrorReply, RESP_TYPES } from 'redis'
import { constantTimeEqual } from '../shared/base/bytes.ts'

export interface RedisRest extends AsyncDisposable {
  url: string
  token: string
  close(): Promise<void>
}

/** Upstash takes requests of 1 MB on its smallest plan. */
const MAX_BODY_BYTES = 1 << 20

type Reply = Buffer | string | number | null | Reply[]
type Answer = { result: unknown } | { error: string }

/** A failure that is the caller's: sent as `{"error"}` with its status. */
class Refusal extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/**
 * Starts the front on 127.0.0.1.
 * @param options `port` 0 takes any free one
 * @throws Error if Redis is out of reach or the port is taken
 */
export async function startRedisRest(options: { redisUrl: string; token: string; port: number }): Promise<RedisRest> {
  const { redisUrl, token } = options
  let wasReady = false
  // Once it has been there, a Redis that goes away is waited for; one that never was is a mistake.
  const reconnectStrategy = (_: number, cause: Error) => wasReady ? 100 : cause
  const client = createClient({ url: redisUrl, RESP: 2, disableOfflineQueue: true, socket: { reconnectStrategy } })
    // Bytes, since Redis's strings need not be text.
    .withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer })
  client.on('error', () => {}) // each command reports for itself
  const send = (command: string[]) => client.sendCommand<Reply>(command)

  const routes: Record<string, (body: unknown, base64: boolean) => Promise<unknown>> = {
    '/': async (body, base64) => ({ result: encode(await send(commandOf(body)), base64) }),
    '/pipeline': (body, base64) => Promise.all(commandsOf(body).map((command) => answer(send(command), base64))),
    '/multi-exec': async (body, base64) => {
      const commands = commandsOf(body)
      // Sent in one tick, so no other request's commands come between.
      const [, ...queued] = await Promise.allSettled([['MULTI'], ...commands, ['EXEC']].map(send))
      const last = queued.at(-1)
      if (last?.status !== 'fulfilled' || !Array.isArray(last.value)) {
        throw last?.status === 'rejected' ? last.reason : last
      }
      return last.value.map((reply) =>
        reply instanceof Error ? { error: reply.message } : { result: encode(reply, base64) }
      )
    },
  }

  const server = createServer(async (request, response) => {
    try {
      if (!constantTimeEqual(request.headers.authorization ?? '', `Bearer ${token}`)) {
        throw new Refusal(401, 'Unauthorized')
      }
      const route = request.method === 'POST' ? routes[request.url ?? ''] : undefined
      if (!route) throw new Refusal(404, 'Not found: POST /, /pipeline or /multi-exec')
      const base64 = request.headers['upstash-encoding'] === 'base64'
      reply(response, 200, await route(await readJson(request), base64))
    } catch (thrown) {
      const status = thrown instanceof Refusal ? thrown.status : thrown instanceof ErrorReply ? 400 : 503
      reply(response, status, { error: textOf(thrown) })
    }
  })
  await client.connect()
  wasReady = true
  try {
    server.listen(options.port, '127.0.0.1')
    await once(server, 'listening')
  } catch (thrown) {
    client.destroy()
    throw thrown
  }
  const address = server.address()
  const port = address && typeof address === 'object' ? address.port : options.port
  const close = async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    if (client.isOpen) client.destroy()
  }
  return { url: `http://127.0.0.1:${port}`, token, close, [Symbol.asyncDispose]: close }
}

async function answer(reply: Promise<Reply>, base64: boolean): Promise<Answer> {
  try {
    return { result: encode(await reply, base64) }
  } catch (thrown) {
    if (!(thrown instanceof ErrorReply)) throw thrown
    return { error: thrown.message }
  }
}

/** Text as it is or in base64; only an "OK" by itself is never encoded. */
function encode(reply: Reply, base64: boolean, top = true): unknown {
  if (Array.isArray(reply)) return reply.map((element) => encode(element, base64, false))
  if (reply === null || typeof reply === 'number') return reply
  const bytes = Buffer.from(reply)
  return !base64 || (top && bytes.toString() === 'OK') ? bytes.toString() : bytes.toString('base64')
}

function commandOf(body: unknown): string[] {
  if (!Array.isArray(body) || body.length === 0) throw new Refusal(400, 'ERR a command must be a non-empty JSON array')
  return body.map((part) => typeof part === 'object' ? JSON.stringify(part) : String(part))
}

function commandsOf(body: unknown): string[][] {
  if (!Array.isArray(body) || body.length === 0) throw new Refusal(400, 'ERR commands must be a non-empty JSON array')
  return body.map(commandOf)
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const parts: Uint8Array[] = []
  let total = 0
  for await (const part of request as AsyncIterable<Uint8Array>) {
    total += part.byteLength
    if (total > MAX_BODY_BYTES) throw new Refusal(413, 'ERR max request size exceeded')
    parts.push(part)
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString())
  } catch {
    throw new Refusal(400, 'ERR failed to parse the request as JSON')
  }
}

function reply(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      redis: { type: 'string', default: 'redis://127.0.0.1:6379' },
      token: { type: 'string' },
      port: { type: 'string', default: '8079' },
    },
  })
  if (!values.token) throw new Error('Cannot start the REST front: --token must be given, got none')
  const front = await startRedisRest({ redisUrl: values.redis, token: values.token, port: Number(values.port) })
  console.log(`redis rest ready ${front.url}`)
}
