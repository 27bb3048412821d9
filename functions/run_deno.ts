import process from 'node:process'
import { atMost, systemClock } from '../shared/base/clock.ts'
import { DEFAULTS } from '../shared/base/defaults.ts'
import type { ServedFunction } from '../shared/registry/serve.ts'
import { SUBPROTOCOL } from '../shared/rpc/transports/websocket.ts'
import { cannotListen } from './cannot_listen.ts'
import { environment, type RunningFunction, type RunOptions } from './run_function.ts'

/** Where sockets for calls are opened, below whatever path a proxy puts before it. */
const PATH = /\/rpc$/

/**
 * Runs a function as a process on Deno: over HTTP and over sockets, its lease renewed while it lives. Calls end when their
 * caller hangs up, which a request's signal tells: as the standard has it with `"unstable": ["no-legacy-abort"]` in
 * deno.json; without, Deno aborts it after each answer too, and says so once.
 */
export async function runOnDeno(served: ServedFunction, options: RunOptions = {}): Promise<RunningFunction> {
  const { port = 0, hostname = '127.0.0.1', sockets = true } = options
  const server = listen(hostname, port, (request) => {
    return request.headers.get('upgrade') === 'websocket' ? upgrade(served, request) : served.fetch(request)
  })
  const env = environment(`http://${hostname}:${server.addr.port}`, options.env ?? process.env)
  served.lease.sockets = sockets
  await served.lease.touch(env)
  const beat = setInterval(() => void served.lease.touch(env), DEFAULTS.functionRenewMs / 2)
  return {
    url: env.SHOAL_URL,
    port: server.addr.port,
    async stop() {
      clearInterval(beat)
      // Nothing fails for its end: gateways hear of it before it stops taking calls.
      await served.drain(env)
      // Whoever does not read their answer must not hold the process.
      await atMost(systemClock, DEFAULTS.drainMs, server.shutdown())
    },
  }
}

function listen(
  hostname: string,
  port: number,
  serve: (request: Request) => Response | Promise<Response>,
): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve({ port, hostname, onListen() {} }, serve)
  } catch (cause) {
    throw cannotListen(hostname, port, cause)
  }
}

function upgrade(served: ServedFunction, request: Request): Response {
  if (!PATH.test(new URL(request.url).pathname)) return new Response(null, { status: 404 })
  const verdict = served.sockets.admit(request.headers)
  if (verdict.status !== 101) return new Response(null, { status: verdict.status })
  const { socket, response } = Deno.upgradeWebSocket(request, { protocol: SUBPROTOCOL })
  served.sockets.accept(socket, verdict.isGateway)
  return response
}
