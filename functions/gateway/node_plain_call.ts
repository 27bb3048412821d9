import type { IncomingHttpHeaders } from 'node:http'
import { type Bytes, EMPTY } from '../../shared/base/bytes.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { isRange } from '../../shared/base/version.ts'
import { Deadline } from '../../shared/rpc/deadline.ts'
import {
  answerOf,
  answerOfError,
  type HttpAnswer,
  type HttpCodec,
  PLAIN_CODECS,
  readTimeout,
} from '../../shared/rpc/http.ts'
import { isRequestMetadata, NO_METADATA } from '../../shared/rpc/metadata.ts'
import type { RpcRequest } from '../../shared/rpc/send.ts'
import { continueTrace } from '../../shared/rpc/trace.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { NodeRequest } from './node_request.ts'
import type { RpcServing } from './rpc_answer.ts'
import type { WriteAnswer } from './node_answer.ts'

/** A call whose head is read, and its body not. */
export type PlainCall = RpcRequest & { payload: { codec: HttpCodec; body: Bytes } }

/** Stands where its deadline's will: that begins when the body is here. */
const NOT_YET = new AbortController().signal

const TIMEOUT = /^[1-9]\d{0,9}$/

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
  const call: PlainCall = {
    service,
    method,
    version: '',
    group: 'default',
    stream: false,
    idempotent: false,
    timeoutMs: DEFAULTS.callTimeoutMs,
    signal: NOT_YET,
    traceparent: '',
    metadata: NO_METADATA,
    payload: { codec: 'json', body: EMPTY },
  }
  if (!readFields(request.fields, call)) return undefined
  const longest = Math.max(service.length, method.length, call.version.length, call.group.length)
  if (longest > LIMITS.maxNameLength || (call.version !== '' && !isRange(call.version))) return undefined
  call.traceparent = continueTrace(call.traceparent)
  if (caller !== undefined) call.caller = caller
  return call
}

/**
 * One walk over the headers that there are costs less than a look for each that there could be.
 * @returns whether the call is a plain one
 */
function readFields(fields: IncomingHttpHeaders, call: PlainCall): boolean {
  let codec: HttpCodec | undefined
  let bytes = NaN
  let metadata: Record<string, string> | undefined
  for (const name in fields) {
    const value = fields[name]
    if (typeof value !== 'string') return false
    switch (name) {
      case 'content-type':
        codec = PLAIN_CODECS.get(value)
        break
      case 'content-length':
        bytes = Number(value)
        break
      case 'content-encoding':
        return false
      case 'accept':
        if (value.includes('text/event-stream')) return false
        break
      case 'connect-protocol-version':
        if (value !== '1') return false
        break
      case 'connect-timeout-ms':
        if (!TIMEOUT.test(value)) return false
        call.timeoutMs = readTimeout(value)
        break
      case 'traceparent':
        call.traceparent = value
        break
      case 'shoal-version':
        call.version = value
        break
      case 'shoal-group':
        call.group = value
        break
      case 'shoal-idempotent':
        call.idempotent = value === '1'
        break
      default:
        if (isRequestMetadata(name, value)) (metadata ??= {})[name] = value
    }
  }
  if (metadata) call.metadata = metadata
  if (!codec) return false
  call.payload.codec = codec
  // Also false where no length is declared.
  return bytes <= (codec === 'json' ? LIMITS.maxJsonBytes : LIMITS.maxMessageBytes)
}

/** Answers it when its body has come. */
export function servePlain(serving: RpcServing, request: NodeRequest, call: PlainCall, write: WriteAnswer): void {
  const startedAtMs = serving.clock.now()
  request.whole((body) => {
    call.payload.body = body
    void answer(serving, request, call, startedAtMs, write)
  }, (cause) => {
    const error = new RpcError('canceled', 'Cannot read the request: its body broke off', { cause })
    serving.onAnswer?.(call.service, call.method, startedAtMs, error.code, error)
    write(request.outgoing, answerOfError(error))
  })
}

/** The one catch of its path. */
async function answer(
  serving: RpcServing,
  request: NodeRequest,
  call: PlainCall,
  startedAtMs: number,
  write: WriteAnswer,
): Promise<void> {
  const { service, method } = call
  let deadline: Deadline | undefined
  let answer: HttpAnswer
  try {
    deadline = new Deadline(serving.clock, call.timeoutMs, request)
    call.signal = deadline.signal
    const response = await serving.choose(service)(call)
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
  write(request.outgoing, answer)
}
