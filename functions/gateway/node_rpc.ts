import type { IncomingMessage, ServerResponse } from 'node:http'
import { answerOfError, type HttpAnswer } from '../../shared/rpc/http.ts'
import { admit, type Guard } from './guard.ts'
import { NodeRequest } from './node_request.ts'
import type { RpcAnswer } from './rpc_answer.ts'

/** Plain calls alone: a query, an escape or a doubled slash goes the long way, through Hono's routes. */
const RPC_PATH = /^\/rpc\/([A-Za-z][\w.]*)\/([A-Za-z]\w*)$/

/**
 * Serves `POST /rpc/{service}/{method}` on Node's own messages. The web's Request, Headers and Response cost as much as
 * all that the gateway does with a small call; decisions and answers are the same, for they come from the same code.
 * @returns whether the request was such a call; else it is someone else's to serve
 */
export function nodeRpc(guard: Guard, answer: RpcAnswer) {
  const serve = async (request: NodeRequest, outgoing: ServerResponse, service: string, method: string) => {
    let result: HttpAnswer
    try {
      const admitted = admit(guard, 'call', (name) => request.get(name) ?? undefined)
      result = await answer(request, service, method, admitted && await admitted)
    } catch (thrown) {
      result = answerOfError(thrown)
    }
    write(outgoing, result)
  }
  return (incoming: IncomingMessage, outgoing: ServerResponse): boolean => {
    const [, service, method] = (incoming.method === 'POST' && RPC_PATH.exec(incoming.url ?? '')) || []
    if (service === undefined || method === undefined || incoming.headers.expect !== undefined) return false
    void serve(new NodeRequest(incoming, outgoing), outgoing, service, method)
    return true
  }
}

function write(outgoing: ServerResponse, { status, headers, body }: HttpAnswer): void {
  if (body instanceof ReadableStream) return void stream(outgoing, status, headers, body)
  // The caller may have gone; there is nobody to answer then.
  if (outgoing.destroyed) return
  headers['content-length'] = String(typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength)
  outgoing.writeHead(status, headers).end(body)
}

/** Sends items as they come, and asks for the next when the socket has room. A caller who has gone ends the stream. */
async function stream(
  outgoing: ServerResponse,
  status: number,
  headers: Record<string, string>,
  body: ReadableStream<Uint8Array>,
): Promise<void> {
  const reader = body.getReader()
  if (outgoing.destroyed) return await reader.cancel()
  outgoing.once('close', () => void reader.cancel().catch(() => {}))
  outgoing.writeHead(status, headers).flushHeaders()
  for (;;) {
    const { done, value } = await reader.read()
    if (done || outgoing.destroyed) break
    if (!outgoing.write(value)) await drained(outgoing)
  }
  outgoing.end()
}

/** Resolves when the socket has room again, or has gone. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      outgoing.off('drain', done).off('close', done)
      resolve()
    }
    outgoing.on('drain', done).on('close', done)
  })
}
