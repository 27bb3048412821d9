import type { LookupFunction } from 'node:net'
import { Agent } from 'undici'
import type { Bytes } from '../../shared/base/bytes.ts'
import { type Clock, systemClock } from '../../shared/base/clock.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { abortError, listen, unlisten } from '../../shared/rpc/deadline.ts'
import { CONTENT_TYPES, type HttpCodec, inCodec } from '../../shared/rpc/http.ts'
import { metadataOfResponse } from '../../shared/rpc/metadata.ts'
import type { RpcRequest, RpcResponse, Send } from '../../shared/rpc/send.ts'
import { fetchTransport, headersOf, pathOf, readAnswer } from '../../shared/rpc/transports/fetch.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import { guardedLookup } from './guarded_lookup.ts'
import { MalformedAnswer } from './http1/answer_head.ts'
import { type Answer, AnswerTooLong } from './http1/answer_reader.ts'
import type { Connection, Exchange } from './http1/connection.ts'
import { Connections } from './http1/connections.ts'
import { TurnEnd } from './turn_end.ts'
import { endOfHead, fieldLines, requestLine } from './http1/request_head.ts'

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
      const to: Destination = {
        base: url.origin + url.pathname.replace(/\/+$/, ''),
        heads: new RequestHeads(url, headers),
        connections: new Connections({ ...endpointOf(url), lookup }, { clock, turn, active }),
      }
      // A stream is worth the web's objects: its items are passed on as they come, at the reader's pace.
      const fetchByAgent = (request: Request) => fetch(request, { dispatcher: agent } as RequestInit)
      const stream = fetchTransport(base, { headers, fetch: fetchByAgent }).send
      return (request) => {
        if (isClosed) return Promise.reject(unreachable(to, new Error('this side has stopped'), false))
        return request.stream ? stream(request) : call(to, request)
      }
    },
    async close() {
      isClosed = true
      for (const connections of active) connections.close()
      await agent.destroy()
    },
  }
}

interface Destination {
  /** As errors name it. */
  readonly base: string
  readonly heads: RequestHeads
  readonly connections: Connections
}

/** What calls to one address begin with: most of it is the same for all calls of a method, and is made once. */
class RequestHeads {
  readonly #url: URL
  readonly #more: Readonly<Record<string, string>> | undefined
  readonly #known = new Map<string, { service: string; codec: HttpCodec; start: string }>()

  constructor(url: URL, more: Readonly<Record<string, string>> | undefined) {
    this.#url = url
    this.#more = more && Object.fromEntries(Object.entries(more).map(([name, value]) => [name.toLowerCase(), value]))
  }

  /** @throws RpcError `invalid_argument` where the request's metadata cannot be sent */
  of(request: RpcRequest, codec: HttpCodec, bytes: number): string {
    const fields = headersOf(request)
    if (this.#more) Object.assign(fields, this.#more)
    return this.#startOf(request, codec) + fieldLines(fields, CALL_HEADERS) + endOfHead(bytes)
  }

  #startOf(request: RpcRequest, codec: HttpCodec): string {
    const { service, method } = request
    const known = this.#known.get(method)
    if (known?.service === service && known.codec === codec) return known.start
    const root = this.#url.pathname.replace(/\/+$/, '')
    const start = requestLine(root + pathOf(request), this.#url.host) +
      fieldLines({ 'content-type': CONTENT_TYPES[codec] })
    // Callers may ask for any name.
    if (this.#known.size >= LIMITS.maxRoutedMethods) this.#known.clear()
    this.#known.set(method, { service, codec, start })
    return start
  }
}

/** Those of our own that all calls have. */
const CALL_HEADERS: ReadonlySet<string> = new Set(['connect-protocol-version', 'connect-timeout-ms', 'traceparent'])

function endpointOf({ protocol, hostname, port }: URL) {
  const isSecure = protocol === 'https:'
  return {
    tls: isSecure ? {} : undefined,
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || (isSecure ? 443 : 80)),
  }
}

function call(to: Destination, request: RpcRequest): Promise<RpcResponse> {
  if (request.signal.aborted) return Promise.reject(abortError(request.signal.reason))
  return new Promise((resolve, reject) => {
    const { codec, body } = inCodec(request.payload, request.payload.codec === 'json' ? 'json' : 'msgpack')
    const head = to.heads.of(request, codec, body.byteLength)
    new UpstreamCall(to, request, head, body, resolve, reject).start()
  })
}

/** A call under way. It settles once: by its answer, by a failure, or because its caller gave it up. */
class UpstreamCall implements Exchange {
  readonly head: string
  readonly body: Bytes
  readonly #to: Destination
  readonly #request: RpcRequest
  readonly #resolve: (response: RpcResponse | Promise<RpcResponse>) => void
  readonly #reject: (error: RpcError) => void
  readonly #onAbort = () => {
    this.#release()
    this.#to.connections.drop(this)
    this.#reject(abortError(this.#request.signal.reason))
  }
  connection: Connection | undefined

  constructor(
    to: Destination,
    request: RpcRequest,
    head: string,
    body: Bytes,
    resolve: (response: RpcResponse | Promise<RpcResponse>) => void,
    reject: (error: RpcError) => void,
  ) {
    this.#to = to
    this.#request = request
    this.head = head
    this.body = body
    this.#resolve = resolve
    this.#reject = reject
  }

  start(): void {
    this.#to.connections.ask(this)
    listen(this.#request.signal, this.#onAbort)
  }

  onAnswer(answer: Answer): void {
    this.#release()
    try {
      this.#resolve(responseOf(answer, this.#request, this.#to))
    } catch (thrown) {
      // The web's Response refuses what HTTP allows.
      this.#reject(RpcError.from(thrown))
    }
  }

  onFailed(error: Error, wasSent: boolean): void {
    this.#release()
    this.#reject(
      error instanceof AnswerTooLong
        ? new RpcError('internal', `Cannot read the answer: ${error.message}`)
        : unreachable(this.#to, error, wasSent),
    )
  }

  #release(): void {
    unlisten(this.#request.signal, this.#onAbort)
  }
}

function unreachable({ base }: Destination, cause: Error, wasSent: boolean): RpcError {
  const { code = '' } = cause as { code?: string }
  const reason = `${cause.message} ${code}`.trim() || 'the connection failed'
  const action = cause instanceof MalformedAnswer ? 'read the answer of' : 'reach'
  return new RpcError('unavailable', `Cannot ${action} ${base}: ${reason}`, {
    cause,
    neverSent: !wasSent,
    unanswered: true,
  })
}

function responseOf(
  answer: Answer,
  { service }: RpcRequest,
  { base }: Destination,
): RpcResponse | Promise<RpcResponse> {
  const { status, statusText, headers, body } = answer
  const encoding = headers.get('content-encoding')
  if (encoding !== undefined && encoding !== 'identity') {
    const reason = `Cannot read the answer: its content-encoding must be identity, got ${encoding.slice(0, 40)}`
    return Promise.reject(new RpcError('unknown', reason))
  }
  const codec = CODECS.get(headers.get('content-type'))
  if (status === 200 && codec && (codec === 'json' || body.byteLength <= LIMITS.maxMessageBytes)) {
    return { kind: 'unary', metadata: metadataOfResponse(headers), payload: { codec, body } }
  }
  // Whatever is out of the ordinary is read as fetch's answers are.
  const hasBody = body.byteLength > 0 && status !== 205
  const response = new Response(hasBody ? body : null, { status, statusText, headers: [...headers] })
  return readAnswer(response, service, base)
}

/** Content types as services that are Shoal's write them. */
const CODECS: ReadonlyMap<string | undefined, HttpCodec> = new Map([
  [CONTENT_TYPES.json, 'json'],
  [CONTENT_TYPES.msgpack, 'msgpack'],
])
