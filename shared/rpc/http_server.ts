import type { Clock } from '../base/clock.ts'
import { RpcError } from '../wire/errors.ts'
import { type Cancellation, Deadline } from './deadline.ts'
import {
  answerOf,
  answerOfError,
  type HttpAnswer,
  type HttpCodec,
  type HttpMessage,
  readHttpRequest,
  streamTypeOf,
} from './http.ts'
import { answerStream } from './http_stream.ts'
import type { RpcRequest, Send } from './send.ts'

export interface HttpServerOptions {
  clock: Clock
  /** Hears of each answer: its code ('ok' or an error's) and the failure behind an `internal` one. */
  onAnswer?(code: string, failure: RpcError | undefined): void
  /** Who calls, as far as whoever let the caller in knows. */
  caller?: string
  /** Bytes of a request's body; LIMITS.maxMessageBytes by default. */
  maxMessageBytes?: number
}

/** A request whose signal aborts when its caller has gone. */
export type HttpRequest = HttpMessage & { readonly signal: Cancellation }

/** Answers one `POST /rpc/{service}/{method}` with `send`. The one catch of that path: it never rejects. */
export async function answerHttp(
  send: Send,
  request: HttpRequest,
  service: string,
  method: string,
  { clock, onAnswer, caller, maxMessageBytes }: HttpServerOptions,
): Promise<HttpAnswer> {
  let deadline: Deadline | undefined
  try {
    const call = await readHttpRequest(request, service, method, maxMessageBytes)
    if (caller !== undefined) call.caller = caller
    if (call.stream) {
      const form = streamTypeOf(request.headers.get('content-type')) ? 'connect' : 'events'
      const onEnd = (code: string, failure: RpcError | undefined) => onAnswer?.(code, failure)
      return await answerStream(send, call, { clock, gone: request.signal, form, onEnd })
    }
    deadline = new Deadline(clock, call.timeoutMs, request.signal)
    const response = await send(withSignal(call, deadline.signal))
    if (response.kind !== 'unary') {
      throw new RpcError('internal', `Cannot answer ${service}/${method}: expected one value, got a stream`)
    }
    const answer = answerOf(response, call.payload.codec as HttpCodec)
    onAnswer?.('ok', undefined)
    return answer
  } catch (thrown) {
    const error = RpcError.from(thrown)
    onAnswer?.(error.code, error)
    return answerOfError(error)
  } finally {
    deadline?.[Symbol.dispose]()
  }
}

function withSignal(call: Omit<RpcRequest, 'signal'>, signal: AbortSignal): RpcRequest {
  return { ...call, signal }
}
