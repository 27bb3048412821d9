import type { LookupFunction } from 'node:net'
import { Agent } from 'undici'
import { type Clock, systemClock } from '../../shared/base/clock.ts'
import type { Send } from '../../shared/rpc/send.ts'
import { fetchTransport } from '../../shared/rpc/transports/fetch.ts'
import { invalid } from '../../shared/wire/errors.ts'
import { guardedLookup } from './guarded_lookup.ts'
import { Connections } from './http1/connections.ts'
import { RequestHeads } from './request_heads.ts'
import { TurnEnd } from './turn_end.ts'
import { callUpstream, type Destination, unreachable } from './upstream_call.ts'

/** Ways to services that have an address of their own. */
export interface Upstream {
  /**
   * @param headers sent with each call
   * @throws RpcError `invalid_argument` if `base` is no http(s) URL
   */
  connect(base: string, headers?: Readonly<Record<string, string>>): Send
  /** Ends all connections; calls in flight fail. */
  close(): Promise<void>
}

export interface UpstreamOptions {
  /** How names become addresses, which are looked at before they are connected to; the system's by default. */
  resolve?: LookupFunction
  clock?: Clock
  /** When requests are written. */
  turn?: TurnEnd
}

/**
 * Upstream calls on Node, the same on the wire as fetchTransport's. Node's `fetch` costs the gateway's process about
 * five times as much for a small call, the client beneath it twice as much. Each call has a connection to itself while it
 * runs; connections are kept for the next.
 */
export function nodeUpstream(options: UpstreamOptions = {}): Upstream {
  const { resolve, clock = systemClock, turn = new TurnEnd() } = options
  const lookup = guardedLookup(resolve)
  const active = new Set<Connections>()
  // For streams. A call's own deadline ends it, and may be longer than these would allow.
  const agent = new Agent({ connect: { lookup }, headersTimeout: 0, bodyTimeout: 0, allowH2: false })
  let isClosed = false
  return {
    connect(base, headers) {
      const url = URL.parse(base)
      if (!url || !/^https?:$/.test(url.protocol)) {
        throw invalid(`Cannot call over HTTP: expected an absolute URL, got "${base}"`)
      }
      const root = url.pathname.replace(/\/+$/, '')
      const to: Destination = {
        base: url.origin + root,
        heads: new RequestHeads(root, url.host, headers),
        connections: new Connections({ ...endpointOf(url), lookup }, { clock, turn, active }),
      }
      // A stream is worth the web's objects: its items are passed on as they come, at the reader's pace.
      const fetchByAgent = (request: Request) => fetch(request, { dispatcher: agent } as RequestInit)
      const stream = fetchTransport(base, { headers, fetch: fetchByAgent }).send
      return (request) => {
        if (isClosed) return Promise.reject(unreachable(to, new Error('this side has stopped'), false))
        return request.stream ? stream(request) : callUpstream(to, request)
      }
    },
    async close() {
      isClosed = true
      for (const connections of active) connections.close()
      await agent.destroy()
    },
  }
}

function endpointOf({ protocol, hostname, port }: URL) {
  const isSecure = protocol === 'https:'
  return {
    tls: isSecure ? {} : undefined,
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || (isSecure ? 443 : 80)),
  }
}
