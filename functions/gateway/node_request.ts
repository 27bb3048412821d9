import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { ReadableStream as NodeStream } from 'node:stream/web'
import { byteLengthOf, type Bytes, EMPTY } from '../../shared/base/bytes.ts'
import type { Cancellation } from '../../shared/rpc/deadline.ts'
import type { HeadersLike } from '../../shared/rpc/http.ts'
import type { HttpRequest } from '../../shared/rpc/http_server.ts'
import type { WithHeaders } from './guard.ts'

/**
 * Node's own message in the form that calls are read from: its headers, its body and whether its caller has gone, in one
 * object, since each one counts on a path that is walked with every call.
 */
export class NodeRequest implements HttpRequest, HeadersLike, WithHeaders, Cancellation {
  readonly #incoming: IncomingMessage
  /** Where its answer goes. */
  readonly outgoing: ServerResponse
  #onAbort: (() => void) | undefined
  #onBroken: ((cause: Error) => void) | undefined
  aborted = false
  reason: unknown

  constructor(incoming: IncomingMessage, outgoing: ServerResponse) {
    this.#incoming = incoming
    this.outgoing = outgoing
    outgoing.on('close', this.#onClose)
  }

  /** Node's own. */
  get fields(): IncomingHttpHeaders {
    return this.#incoming.headers
  }

  get headers(): HeadersLike {
    return this
  }

  get signal(): Cancellation {
    return this
  }

  readonly #onClose = (): void => {
    if (this.outgoing.writableFinished) return
    this.aborted = true
    this.reason = new DOMException('The caller has gone', 'AbortError')
    this.#onAbort?.()
    this.#onBroken?.(new Error('its connection ended'))
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

  header(name: string): string | undefined {
    return this.get(name) ?? undefined
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
    return new Promise((resolve, reject) => this.whole((body) => resolve(body.buffer), reject))
  }

  /**
   * Reads a body whose declared length is known to be small enough: Node holds it to that, so that it is here with its last
   * byte. Calls one of the two, once.
   * @param onBody is given all of a buffer
   */
  whole(onBody: (body: Bytes) => void, onBroken: (cause: Error) => void): void {
    let missing = Number(this.#incoming.headers['content-length'])
    if (missing === 0) return onBody(EMPTY)
    const parts: Uint8Array[] = []
    this.#incoming.on('data', (part: Uint8Array) => {
      parts.push(part)
      missing -= part.byteLength
      if (missing > 0) return
      this.#onBroken = undefined
      onBody(joined(parts))
    })
    this.#onBroken = onBroken
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

/** In a buffer of its own: a part that has one already, as Node's parser gives it, is not copied. */
function joined(parts: readonly Uint8Array[]): Bytes {
  const [first] = parts
  if (parts.length === 1 && first?.byteLength === first?.buffer.byteLength && first?.buffer instanceof ArrayBuffer) {
    return new Uint8Array(first.buffer)
  }
  const whole = new Uint8Array(byteLengthOf(parts))
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.byteLength
  }
  return whole
}
