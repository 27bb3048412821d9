import { LIMITS } from '../base/limits.ts'
import type { RpcRequest, RpcResponse, UnaryResponse } from '../rpc/send.ts'
import type { ErrorCode, RpcError } from '../wire/errors.ts'

/** Failures of the service. That a caller asked for something impossible is none, and needs to be told. */
const FAILURES: ReadonlySet<ErrorCode> = new Set([
  'unavailable',
  'deadline_exceeded',
  'resource_exhausted',
  'internal',
  'unknown',
  'data_loss',
])

/** Whether a failed call may be answered otherwise. A caller that has gone away, or has no time left, is not answered. */
export function deservesFallback({ code, neverSent }: RpcError, signal: AbortSignal): boolean {
  if (signal.aborted) return false
  // That nobody serves it at all is the router's own finding, hence never sent; any other is the service's answer.
  return FAILURES.has(code) || (code === 'not_found' && neverSent)
}

export function staticAnswer(value: unknown): UnaryResponse {
  return { kind: 'unary', metadata: {}, payload: { codec: 'value', value } }
}

/**
 * The last good answers to idempotent calls, the longest unused forgotten first. Only the same question is answered from
 * here: same method, version, group, metadata and body, byte by byte. Credentials never come this far.
 */
export class LastAnswers {
  readonly #answers = new Map<string, UnaryResponse>()

  /** Keeps an answer, if both it and its question are small enough to keep. */
  keep(request: RpcRequest, response: RpcResponse): void {
    const key = keyOf(request)
    if (key === undefined || response.kind !== 'unary' || !('body' in response.payload)) return
    if (response.payload.body.byteLength > LIMITS.maxLastAnswerBytes) return
    this.#answers.delete(key)
    // A copy: the bytes may be a view of a buffer that is much longer.
    const { codec, body } = response.payload
    this.#answers.set(key, { ...response, payload: { codec, body: new Uint8Array(body) } })
    const [oldest] = this.#answers.keys()
    if (this.#answers.size > LIMITS.maxLastAnswers && oldest !== undefined) this.#answers.delete(oldest)
  }

  find(request: RpcRequest): UnaryResponse | undefined {
    const key = keyOf(request)
    return key === undefined ? undefined : this.#answers.get(key)
  }
}

function keyOf(request: RpcRequest): string | undefined {
  const { service, method, version, group, idempotent, metadata, payload } = request
  if (!idempotent || !('body' in payload) || payload.body.byteLength > LIMITS.maxLastAnswerBytes) return undefined
  const said = Object.entries(metadata).sort(([a], [b]) => a < b ? -1 : 1)
  let body = ''
  for (const byte of payload.body) body += String.fromCharCode(byte)
  return JSON.stringify([service, method, version, group, said, payload.codec]) + body
}
