import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Server as NetServer } from 'node:net'
import { atMost, sleep, systemClock } from '../shared/base/clock.ts'

/** How long connections without a request stay open when a server ends: a caller's request may be on its way. */
const ON_THE_WAY_MS = 200
/** How often it is looked whether callers still come. */
const LOOK_MS = 50
/** How long the other side may take to close a connection that was left to it, sockets with their close frames included. */
const CLOSE_MS = 1_000

/** The end of an HTTP server on Node that cuts nothing which was read, or is being written. */
export interface NodeDrain {
  /** Goes on serving; from now on each connection's next answer is its last, so that callers look for another server. */
  leave(): void
  /** Resolves when nobody has sent a request for `forMs`, or after `limitMs`. */
  quiet(forMs: number, limitMs: number): Promise<void>
  /** Stops listening, takes what is on its way on open connections, and resolves when all is answered, or after `limitMs`. */
  end(limitMs: number): Promise<void>
  /** Closes connections that say nothing, calls `cut` unless the rest close by themselves, and resolves when all have. */
  close(cut: () => void): Promise<void>
}

/** Counts a server's requests from now on. */
export function drainOf(server: Server): NodeDrain {
  let active = 0
  let isLeaving = false
  let heardAtMs = -Infinity
  let closed: Promise<void> | undefined
  let onIdle = () => {}
  // Not when it was answered, but when the system has taken all of the answer. One listener for all: each counts.
  const onEnd = () => {
    if (--active === 0) onIdle()
  }
  // Before all others: who answers at once must find it said that this is the last answer.
  server.prependListener('request', (_request: IncomingMessage, response: ServerResponse) => {
    if (isLeaving) response.shouldKeepAlive = false
    heardAtMs = systemClock.now()
    active++
    response.on('close', onEnd)
  })
  // Not the HTTP server's own `close`, which cuts idle connections at once: a call may be on its way on one.
  const stopListening = () => closed ??= new Promise((done) => NetServer.prototype.close.call(server, () => done()))
  return {
    leave: () => void (isLeaving = true),
    async quiet(forMs, limitMs) {
      const endsAtMs = systemClock.now() + limitMs
      while (systemClock.now() < Math.min(heardAtMs + forMs, endsAtMs)) await sleep(systemClock, LOOK_MS)
    },
    async end(limitMs) {
      isLeaving = true
      void stopListening()
      const connections = await new Promise<number>((resolve) =>
        server.getConnections((_error, count) => resolve(count ?? 0))
      )
      if (connections > 0) await sleep(systemClock, ON_THE_WAY_MS)
      if (active === 0) return
      await atMost(systemClock, limitMs, new Promise<void>((resolve) => onIdle = resolve))
    },
    async close(cut) {
      const ended = stopListening()
      // Callers open connections ahead of need and say nothing on them: they would hold the server open for ever.
      server.closeAllConnections()
      const late = setTimeout(cut, CLOSE_MS)
      await ended
      clearTimeout(late)
    },
  }
}
