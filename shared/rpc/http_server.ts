import type { Clock } from '../base/clock.ts'
import { RpcError } from '../wire/errors.ts'
import { Deadline } from './deadline.ts'
import { answerOf, answerOfError, type HttpAnswer, type HttpCodec, type HttpMessage, readHttpRequest } from './http.ts'
import type { Send } from './send.ts'

export interface HttpServerOptions {
  clock: Clock
  /** Hears of each answer: its code ('ok' or an error's) and the failure behind an `internal` one. */
  onAnswer?(code: string, failure: RpcError | undefined): void
}

/** A request whose signal aborts when its caller has gone. */
export type HttpRequest = HttpMessage & { readonly signal: AbortSignal }

/** Answers one `POST /rpc/{service}/{method}` with `send`. The one catch of that path: it never rejects. */
export async function answerHttp(
  send: Send,
  request: HttpRequest,
  service: string,
  method: string,
  { clock, onAnswer }: HttpServerOptions,
): Promise<HttpAnswer> {
  try {
    const call = await readHttpRequest(request, service, method)
    using deadline = new Deadline(clock, call.timeoutMs, request.signal)
    const response = await send({ ...call, signal: deadline.signal })
    if (response.kind !== 'unary') {
      throw new RpcError('unimplemented', `Cannot stream ${service}/${method} over plain HTTP: use a socket`)
    }
    const answer = answerOf(response, call.payload.codec as HttpCodec)
    onAnswer?.('ok', undefined)
    return answer
  } catch (thrown) {
    const error = RpcError.from(thrown)
    onAnswer?.(error.code, error)
    return answerOfError(error)
  }
}
