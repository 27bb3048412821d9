import { systemClock } from '../../../shared/base/clock.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { type HttpMessage, readHttpRequest, toResponse } from '../../../shared/rpc/http.ts'
import { answerHttp } from '../../../shared/rpc/http_server.ts'
import type { RpcRequest, Send } from '../../../shared/rpc/send.ts'
import { type FetchOptions, fetchTransport } from '../../../shared/rpc/transports/fetch.ts'

/** A server behind HTTP, and what it saw. */
export function served(send: Send) {
  const seen: { requests: Request[]; calls: RpcRequest[] } = { requests: [], calls: [] }
  const fetch = (request: Request): Promise<Response> => {
    seen.requests.push(request.clone())
    const [, , service = '', method = ''] = new URL(request.url).pathname.split('/').map(decodeURIComponent)
    const noting: Send = (call) => {
      seen.calls.push(call)
      return send(call)
    }
    return answerHttp(noting, request, service, method, { clock: systemClock }).then(toResponse)
  }
  const transport = (options: FetchOptions = {}) => fetchTransport('http://gateway', { fetch, ...options })
  return { fetch, seen, transport }
}

export function read(headers: Record<string, string>, method = 'm') {
  return readHttpRequest(messageOf({ 'content-type': 'application/json', ...headers }, '{"a":1}'), 'a.B', method)
}

/** A request as a server gets it: browsers would not let a page set some of these headers. */
export function messageOf(headers: Record<string, string>, content: string | Uint8Array<ArrayBuffer>): HttpMessage {
  const response = new Response(content)
  return { headers: new Headers(headers), body: response.body, arrayBuffer: () => response.arrayBuffer() }
}

/** A stream of zeros, and how many were asked of it. */
export function zeros(bytes: number): [() => number, ReadableStream<Uint8Array<ArrayBuffer>>] {
  let pulled = 0
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      if (pulled >= bytes) return controller.close()
      const size = Math.min(LIMITS.maxFrameBytes, bytes - pulled)
      pulled += size
      controller.enqueue(new Uint8Array(size))
    },
  })
  return [() => pulled, stream]
}
