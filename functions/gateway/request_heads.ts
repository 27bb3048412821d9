import { LIMITS } from '../../shared/base/limits.ts'
import { CONTENT_TYPES, type HttpCodec } from '../../shared/rpc/http.ts'
import type { RpcRequest } from '../../shared/rpc/send.ts'
import { headersOf, pathOf } from '../../shared/rpc/transports/fetch.ts'
import { endOfHead, fieldLines, requestLine } from './http1/request_head.ts'

/** What calls to one address begin with: most of it is the same for all calls of a method, and is made once. */
export class RequestHeads {
  readonly #root: string
  readonly #host: string
  readonly #more: Readonly<Record<string, string>> | undefined
  readonly #known = new Map<string, { service: string; codec: HttpCodec; start: string }>()

  /**
   * @param root of paths, without a slash at its end
   * @param host as the Host field has it
   * @param more headers of all calls
   */
  constructor(root: string, host: string, more: Readonly<Record<string, string>> | undefined) {
    this.#root = root
    this.#host = host
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
    const start = requestLine(this.#root + pathOf(request), this.#host) +
      fieldLines({ 'content-type': CONTENT_TYPES[codec] })
    // Callers may ask for any name.
    if (this.#known.size >= LIMITS.maxRoutedMethods) this.#known.clear()
    this.#known.set(method, { service, codec, start })
    return start
  }
}

/** Those of our own that all calls have. */
const CALL_HEADERS: ReadonlySet<string> = new Set(['connect-protocol-version', 'connect-timeout-ms', 'traceparent'])
