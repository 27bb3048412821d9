import type { ServerResponse } from 'node:http'
import type { HttpAnswer } from '../../shared/rpc/http.ts'

export type WriteAnswer = (outgoing: ServerResponse, answer: HttpAnswer) => void

/** Writes an answer to whoever is there to read it. */
export function writeAnswer(outgoing: ServerResponse, { status, headers, body }: HttpAnswer): void {
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
