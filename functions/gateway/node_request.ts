import type { IncomingMessage, ServerResponse } from 'node:http'
import { ReadableStream as NodeStream } from 'node:stream/web'
import type { Cancellation } from '../../shared/rpc/deadline.ts'
import type { HeadersLike } from '../../shared/rpc/http.ts'
import type { HttpRequest } from '../../shared/rpc/http_server.ts'

/**
 * Node's own message in the form that calls are read from: its headers, its body and whether its caller has gone, in one
 * object, since each one counts on a path that is walked with every call.
 */
export class NodeRequest implements HttpRequest, HeadersLike, Cancellation {
  readonly #incoming: IncomingMessage
  readonly #outgoing: ServerResponse
  #onAbort: (() => void) | undefined
  aborted = false
  reason: unknown

  constructor(incoming: IncomingMessage, outgoing: ServerResponse) {
    this.#incoming = incoming
    this.#outgoing = outgoing
    outgoing.on('close', this.#onClose)
  }

  get headers(): HeadersLike {
    return this
  }

  get signal(): Cancellation {
    return this
  }

  readonly #onClose = (): void => {
    if (this.#outgoing.writableFinished) return
    this.aborted = true
    this.reason = new DOMException('The caller has gone', 'AbortError')
    this.#onAbort?.()
  }

  /** One listener at a time: the call's deadline is the only one who asks. */
  addEventListener(_type: 'abort', listener: () => void): void {
    this.#onAbort = listener
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    if (this.#onAbort === listener) this.#onAbort = undefined
  }

  get(name: string): string | null {
    const value = this.#incoming.headers[name]
    return value === undefined ? null : Array.isArray(value) ? value.join(', ') : value
  }

  has(name: string): boolean {
    return this.#incoming.headers[name] !== undefined
  }

  forEach(visit: (value: string, name: string) => void): void {
    for (const name in this.#incoming.headers) {
      const value = this.get(name)
      if (value !== null) visit(value, name)
    }
  }

  /** For bodies of unknown length: read with a bound. */
  get body(): ReadableStream<Uint8Array> {
    return NodeStream.from(partsOf(this.#incoming)) as ReadableStream<Uint8Array>
  }

  arrayBuffer(): Promise<ArrayBuffer> {
    return new Promise((resolve, reject) => {
      const parts: Uint8Array[] = []
      this.#incoming.on('data', (part: Uint8Array) => parts.push(part))
      this.#incoming.on('end', () => resolve(joined(parts)))
      this.#incoming.on('error', reject)
    })
  }
}

/** A reader that stops early throws the rest away: to destroy it would cut the connection before the answer is out. */
async function* partsOf(incoming: IncomingMessage): AsyncGenerator<Uint8Array> {
  try {
    yield* incoming.iterator({ destroyOnReturn: false })
  } finally {
    incoming.resume()
  }
}

/** In a buffer of its own: a part that has one already, as Node's parser gives it, is taken as it is. */
function joined(parts: readonly Uint8Array[]): ArrayBuffer {
  const [first] = parts
  if (parts.length === 1 && first?.byteLength === first?.buffer.byteLength && first?.buffer instanceof ArrayBuffer) {
    return first.buffer
  }
  const whole = new Uint8Array(parts.reduce((total, part) => total + part.byteLength, 0))
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.byteLength
  }
  return whole.buffer
}
