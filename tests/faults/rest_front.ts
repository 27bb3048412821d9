import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'

/** What the front does with a request: passes it on, refuses it with a status, or cuts the answer's JSON short. */
export type RestFault = 'none' | 'refuse every other' | 'truncate'

/** A front of a Redis REST service that fails as such services do. */
export class RestFront implements AsyncDisposable {
  readonly #server: Server
  readonly #target: string
  fault: RestFault = 'none'
  /** Requests so far. */
  requests = 0

  private constructor(target: string) {
    this.#target = target
    this.#server = createServer((request, response) => void this.#serve(request, response))
  }

  static async to(target: string): Promise<RestFront> {
    const front = new RestFront(target)
    await new Promise<void>((resolve) => front.#server.listen(0, '127.0.0.1', resolve))
    return front
  }

  get port(): number {
    const address = this.#server.address()
    return address && typeof address === 'object' ? address.port : 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Uint8Array[] = []
    for await (const part of request as AsyncIterable<Uint8Array>) parts.push(part)
    const count = ++this.requests
    if (this.fault === 'refuse every other' && count % 2 === 0) {
      const status = count % 4 === 0 ? 429 : 500
      return answer(response, status, JSON.stringify({ error: 'ERR max requests limit exceeded' }))
    }
    try {
      const passed = await fetch(this.#target + request.url, {
        method: 'POST',
        headers: { authorization: request.headers.authorization ?? '', 'content-type': 'application/json' },
        body: Buffer.concat(parts),
      })
      const text = await passed.text()
      const body = this.fault === 'truncate' ? text.slice(0, Math.floor(text.length / 2)) : text
      answer(response, passed.status, body)
    } catch (thrown) {
      answer(response, 502, String(thrown))
    }
  }
}

function answer(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(body)
}
