/** A gateway in JavaScript without a policy: each request as it is to one backend, its answer as it is back. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import process from 'node:process'
import { type Dispatcher, Pool } from 'undici'
import { ready } from '../ready.ts'
import { listen } from '../rpc_peers/listen.ts'

const pool = new Pool(`http://127.0.0.1:${process.argv[2]}`, { headersTimeout: 0, bodyTimeout: 0 })

/** Hands an answer on when it is whole: small ones go out in one write. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #outgoing: ServerResponse
  readonly #parts: Uint8Array[] = []
  #status = 502
  #type = ''

  constructor(outgoing: ServerResponse) {
    this.#outgoing = outgoing
  }

  onRequestStart(): void {}

  onResponseStart(_controller: unknown, status: number, headers: Record<string, string | string[] | undefined>): void {
    this.#status = status
    this.#type = String(headers['content-type'])
  }

  onResponseData(_controller: unknown, part: Uint8Array): void {
    this.#parts.push(part)
  }

  onResponseEnd(): void {
    const [first, ...more] = this.#parts
    const body = first && more.length === 0 ? first : Buffer.concat(this.#parts)
    this.#outgoing.writeHead(this.#status, { 'content-type': this.#type, 'content-length': String(body.byteLength) })
    this.#outgoing.end(body)
  }

  onResponseError(): void {
    this.#outgoing.writeHead(502).end()
  }
}

const server = createServer((incoming: IncomingMessage, outgoing: ServerResponse) => {
  const parts: Uint8Array[] = []
  incoming.on('data', (part: Uint8Array) => parts.push(part))
  incoming.on('end', () => {
    const body = parts.length === 1 ? parts[0] : Buffer.concat(parts)
    const headers = { 'content-type': incoming.headers['content-type'] ?? '' }
    pool.dispatch({ method: 'POST', path: incoming.url ?? '/', headers, body }, new Exchange(outgoing))
  })
})
server.keepAliveTimeout = 120_000
ready(await listen(server))
