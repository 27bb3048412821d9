import type { Bytes } from '../../shared/base/bytes.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { abortError, listen, unlisten } from '../../shared/rpc/deadline.ts'
import { inCodec, PLAIN_CODECS } from '../../shared/rpc/http.ts'
import { metadataOfResponse } from '../../shared/rpc/metadata.ts'
import type { RpcRequest, RpcResponse } from '../../shared/rpc/send.ts'
import { readAnswer } from '../../shared/rpc/transports/fetch.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { MalformedAnswer } from './http1/answer_head.ts'
import { type Answer, AnswerTooLong } from './http1/answer_reader.ts'
import type { Connection, Exchange } from './http1/connection.ts'
import type { Connections } from './http1/connections.ts'
import type { RequestHeads } from './request_heads.ts'

/** A service that takes calls over plain HTTP. */
export interface Destination {
  /** As errors name it. */
  readonly base: string
  readonly heads: RequestHeads
  readonly connections: Connections
}

/** Makes a unary call. */
export function callUpstream(to: Destination, request: RpcRequest): Promise<RpcResponse> {
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

/** A call that got no answer. @param wasSent bytes of it may have reached the service */
export function unreachable({ base }: Destination, cause: Error, wasSent: boolean): RpcError {
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
  const codec = PLAIN_CODECS.get(headers.get('content-type'))
  if (status === 200 && codec && (codec === 'json' || body.byteLength <= LIMITS.maxMessageBytes)) {
    return { kind: 'unary', metadata: metadataOfResponse(headers), payload: { codec, body } }
  }
  // Whatever is out of the ordinary is read as fetch's answers are.
  const hasBody = body.byteLength > 0 && status !== 205
  const response = new Response(hasBody ? body : null, { status, statusText, headers: [...headers] })
  return readAnswer(response, service, base)
}
