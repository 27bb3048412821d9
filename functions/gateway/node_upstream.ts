import type { LookupFunction } from 'node:net'
import { Agent, type Dispatcher } from 'undici'
import type { Bytes } from '../../shared/base/bytes.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { abortError, listen, unlisten } from '../../shared/rpc/deadline.ts'
import { CONTENT_TYPES, type HttpCodec, inCodec } from '../../shared/rpc/http.ts'
import { metadataOfResponse } from '../../shared/rpc/metadata.ts'
import type { RpcRequest, RpcResponse, Send } from '../../shared/rpc/send.ts'
import { fetchTransport, headersOf, pathOf, readAnswer } from '../../shared/rpc/transports/fetch.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import { guardedLookup } from './guarded_lookup.ts'

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

type Controller = Dispatcher.DispatchController
type Headers = Parameters<NonNullable<Dispatcher.DispatchHandler['onResponseStart']>>[2]

/**
 * Upstream calls on Node, the same on the wire as fetchTransport's. Node's `fetch` costs the gateway's process about
 * five times as much for a small call: this is the client beneath it, without the web's objects and streams. Each call
 * has a connection to itself while it runs; connections are kept for the next, and an address without any is forgotten.
 * @param resolve how names become addresses, which are looked at before they are connected to; the system's by default
 */
export function nodeUpstream(resolve?: LookupFunction): Upstream {
  const agent = new Agent({
    connect: { lookup: guardedLookup(resolve) },
    // A call's own deadline ends it, and may be longer than these would allow.
    headersTimeout: 0,
    bodyTimeout: 0,
    allowH2: false,
  })
  return {
    connect(base, headers) {
      const url = URL.parse(base)
      if (!url || !/^https?:$/.test(url.protocol)) {
        throw invalid(`Cannot call over HTTP: expected an absolute URL, got "${base}"`)
      }
      const { origin } = url
      const root = url.pathname.replace(/\/+$/, '')
      // A stream is worth the web's objects: its items are passed on as they come, at the reader's pace.
      const fetchByAgent = (request: Request) => fetch(request, { dispatcher: agent } as RequestInit)
      const stream = fetchTransport(base, { headers, fetch: fetchByAgent }).send
      return (request) => request.stream ? stream(request) : call(agent, origin, root, request, headers)
    },
    close: () => agent.destroy(),
  }
}

function call(
  agent: Agent,
  origin: string,
  root: string,
  request: RpcRequest,
  more: Readonly<Record<string, string>> | undefined,
): Promise<RpcResponse> {
  if (request.signal.aborted) return Promise.reject(abortError(request.signal.reason))
  return new Promise((resolve, reject) => {
    const { codec, body } = inCodec(request.payload, request.payload.codec === 'json' ? 'json' : 'msgpack')
    const headers = headersOf(request)
    headers['content-type'] = CONTENT_TYPES[codec]
    if (more) Object.assign(headers, more)
    const exchange = new Exchange(origin + root, request, resolve, reject)
    agent.dispatch({ origin, method: 'POST', path: root + pathOf(request), headers, body }, exchange)
  })
}

/** One request and its answer, as undici tells of them. It settles once, by whatever comes first. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #base: string
  readonly #request: RpcRequest
  readonly #resolve: (response: RpcResponse | Promise<RpcResponse>) => void
  readonly #reject: (error: RpcError) => void
  readonly #onAbort = () => this.#abort()
  readonly #parts: Uint8Array[] = []
  #controller: Controller | undefined
  #bytes = 0
  #status = 0
  #statusText = ''
  #headers: Headers = {}

  constructor(
    base: string,
    request: RpcRequest,
    resolve: (response: RpcResponse | Promise<RpcResponse>) => void,
    reject: (error: RpcError) => void,
  ) {
    this.#base = base
    this.#request = request
    this.#resolve = resolve
    this.#reject = reject
    listen(request.signal, this.#onAbort)
  }

  /** From now on bytes of it may have reached the other side. */
  onRequestStart(controller: Controller): void {
    this.#controller = controller
    // It waited for a connection, and its caller did not.
    if (this.#request.signal.aborted) this.#abort()
  }

  onResponseStart(_controller: Controller, status: number, headers: Headers, statusText = ''): void {
    this.#status = status
    this.#headers = headers
    this.#statusText = statusText
  }

  onResponseData(controller: Controller, part: Uint8Array): void {
    this.#bytes += part.byteLength
    if (this.#bytes <= LIMITS.maxJsonBytes) return void this.#parts.push(part)
    controller.abort(
      new RpcError('internal', `Cannot read the answer: it may have at most ${LIMITS.maxJsonBytes} bytes`),
    )
  }

  onResponseEnd(): void {
    this.#release()
    this.#resolve(this.#answer())
  }

  onResponseError(_controller: Controller, error: Error): void {
    this.#release()
    this.#reject(error instanceof RpcError ? error : this.#unreachable(error))
  }

  #abort(): void {
    const error = abortError(this.#request.signal.reason)
    this.#controller?.abort(error)
    this.#release()
    this.#reject(error)
  }

  #release(): void {
    unlisten(this.#request.signal, this.#onAbort)
  }

  #unreachable(cause: Error): RpcError {
    const { code = '' } = cause as { code?: string }
    if (code === 'UND_ERR_INVALID_ARG') {
      return invalid(`Cannot call ${this.#request.service}: a header has a value that HTTP does not carry`, { cause })
    }
    const reason = `${cause.message} ${code}`.trim() || 'the connection failed'
    return new RpcError('unavailable', `Cannot reach ${this.#base}: ${reason}`, {
      cause,
      neverSent: this.#controller === undefined,
      unanswered: true,
    })
  }

  #answer(): RpcResponse | Promise<RpcResponse> {
    const headers = this.#headers
    const encoding = headers['content-encoding']
    if (encoding !== undefined && encoding !== 'identity') {
      return Promise.reject(
        new RpcError('unknown', `Cannot read the answer: its content-encoding must be identity, got ${encoding}`),
      )
    }
    const codec = CODECS.get(String(headers['content-type']))
    if (this.#status === 200 && codec && (codec === 'json' || this.#bytes <= LIMITS.maxMessageBytes)) {
      return {
        kind: 'unary',
        metadata: metadataOfResponse({ forEach: (visit) => visitAll(headers, visit) }),
        payload: { codec, body: this.#body() },
      }
    }
    // Whatever is out of the ordinary is read as fetch's answers are.
    const body = this.#bytes > 0 ? this.#body() : null
    const response = new Response(body, {
      status: this.#status,
      statusText: this.#statusText,
      headers: texts(headers),
    })
    return readAnswer(response, this.#request.service, this.#base)
  }

  #body(): Bytes {
    const [first, ...more] = this.#parts
    // A slice of what the socket read, which nobody else writes to.
    if (first && more.length === 0) return first as Bytes
    return Buffer.concat(this.#parts, this.#bytes)
  }
}

/** Content types as services that are Shoal's write them. */
const CODECS: ReadonlyMap<string, HttpCodec> = new Map([
  [CONTENT_TYPES.json, 'json'],
  [CONTENT_TYPES.msgpack, 'msgpack'],
])

function visitAll(headers: Headers, visit: (value: string, name: string) => void): void {
  for (const name in headers) {
    const value = headers[name]
    if (value !== undefined) visit(Array.isArray(value) ? value.join(', ') : value, name)
  }
}

function texts(headers: Headers): [name: string, value: string][] {
  const entries: [string, string][] = []
  visitAll(headers, (value, name) => entries.push([name, value]))
  return entries
}
