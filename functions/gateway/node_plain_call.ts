import { type Bytes, EMPTY } from '../../shared/base/bytes.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { isRange } from '../../shared/base/version.ts'
import { Deadline } from '../../shared/rpc/deadline.ts'
import {
  answerOf,
  answerOfError,
  CONTENT_TYPES,
  type HttpAnswer,
  type HttpCodec,
  readTimeout,
  wantsEvents,
} from '../../shared/rpc/http.ts'
import { metadataOfRequest } from '../../shared/rpc/metadata.ts'
import type { RpcRequest } from '../../shared/rpc/send.ts'
import { continueTrace } from '../../shared/rpc/trace.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { NodeRequest } from './node_request.ts'
import type { RpcServing } from './rpc_answer.ts'
import { writeAnswer } from './node_answer.ts'

/** Content types as clients write them. */
const CODECS: ReadonlyMap<string | null, HttpCodec> = new Map([
  [CONTENT_TYPES.json, 'json'],
  [CONTENT_TYPES.msgpack, 'msgpack'],
])

/** A call whose head is read, and its body not. */
export type PlainCall = RpcRequest & { payload: { codec: HttpCodec; body: Bytes } }

/** Stands where its deadline's will: that begins when the body is here. */
const NOT_YET = new AbortController().signal

/**
 * Reads the head of a unary call as nearly all of them are, without any step that could wait.
 * @returns undefined for any other: `answerRpc` reads those, and says what is wrong with them if something is
 */
export function callOf(
  request: NodeRequest,
  service: string,
  method: string,
  caller: string | undefined,
): PlainCall | undefined {
  const codec = CODECS.get(request.get('content-type'))
  if (!codec || request.has('content-encoding') || wantsEvents(request)) return undefined
  // Also false where none is declared.
  const maxBytes = codec === 'json' ? LIMITS.maxJsonBytes : LIMITS.maxMessageBytes
  if (!(Number(request.get('content-length') ?? NaN) <= maxBytes)) return undefined
  const version = request.get('shoal-version') ?? ''
  const group = request.get('shoal-group') ?? 'default'
  const longest = Math.max(service.length, method.length, version.length, group.length)
  if (longest > LIMITS.maxNameLength || (version !== '' && !isRange(version))) return undefined
  if ((request.get('connect-protocol-version') ?? '1') !== '1') return undefined
  const timeout = request.get('connect-timeout-ms')
  if (timeout !== null && !/^[1-9]\d{0,9}$/.test(timeout)) return undefined
  const call: PlainCall = {
    service,
    method,
    version,
    group,
    stream: false,
    idempotent: request.get('shoal-idempotent') === '1',
    timeoutMs: readTimeout(timeout),
    signal: NOT_YET,
    traceparent: continueTrace(request.get('traceparent')),
    metadata: metadataOfRequest(request),
    payload: { codec, body: EMPTY },
  }
  if (caller !== undefined) call.caller = caller
  return call
}

/** Answers it when its body has come. */
export function servePlain(serving: RpcServing, request: NodeRequest, call: PlainCall): void {
  const startedAtMs = serving.clock.now()
  request.whole((body) => {
    call.payload.body = body
    void answer(serving, request, call, startedAtMs)
  }, (cause) => {
    const error = new RpcError('canceled', 'Cannot read the request: its body broke off', { cause })
    serving.onAnswer?.(call.service, call.method, startedAtMs, error.code, error)
    writeAnswer(request.outgoing, answerOfError(error))
  })
}

/** The one catch of its path. */
async function answer(
  serving: RpcServing,
  request: NodeRequest,
  call: PlainCall,
  startedAtMs: number,
): Promise<void> {
  const { service, method } = call
  let deadline: Deadline | undefined
  let answer: HttpAnswer
  try {
    deadline = new Deadline(serving.clock, call.timeoutMs, request)
    call.signal = deadline.signal
    const response = await serving.choose(service, call.caller)(call)
    if (response.kind !== 'unary') {
      throw new RpcError('internal', `Cannot answer ${service}/${method}: expected one value, got a stream`)
    }
    answer = answerOf(response, call.payload.codec)
    serving.onAnswer?.(service, method, startedAtMs, 'ok', undefined)
  } catch (thrown) {
    const error = RpcError.from(thrown)
    serving.onAnswer?.(service, method, startedAtMs, error.code, error)
    answer = answerOfError(error)
  } finally {
    deadline?.[Symbol.dispose]()
  }
  writeAnswer(request.outgoing, answer)
}
