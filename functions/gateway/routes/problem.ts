import { answerOfError, httpStatusOf, toResponse } from '../../../shared/rpc/http.ts'
import { RpcError } from '../../../shared/wire/errors.ts'

/** RFC 9457 problem details, the error shape of management routes. */
export function toProblem(thrown: unknown): Response {
  const error = RpcError.from(thrown)
  const status = httpStatusOf(error)
  const body = { type: 'about:blank', title: error.code, status, detail: error.message }
  return answer(error, 'application/problem+json', body)
}

/** The error shape of the Open Inference Protocol. */
export function toInferenceError(thrown: unknown): Response {
  const error = RpcError.from(thrown)
  return answer(error, 'application/json', { error: error.message })
}

/** An error from outside of any route, in the shape of the face that was called. */
export function toErrorOf(path: string, thrown: unknown): Response {
  if (path.startsWith('/rpc/')) return toResponse(answerOfError(thrown))
  return path.startsWith('/v2/') ? toInferenceError(thrown) : toProblem(thrown)
}

function answer(error: RpcError, contentType: string, body: unknown): Response {
  const headers: Record<string, string> = { 'content-type': contentType }
  if (error.retryAfterMs !== undefined) {
    headers['retry-after'] = String(Math.max(1, Math.ceil(error.retryAfterMs / 1000)))
  }
  if (error.code === 'unauthenticated') headers['www-authenticate'] = 'Bearer realm="shoal"'
  return new Response(JSON.stringify(body), { status: httpStatusOf(error), headers })
}
