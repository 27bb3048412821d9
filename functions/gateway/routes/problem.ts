import type { Context } from 'hono'
import { type ErrorCode, RpcError } from '../../../shared/wire/errors.ts'
import { httpStatusOf } from '../../../shared/rpc/http.ts'

/** RFC 9457 problem details, the error shape of management routes. */
export function problem(_context: Context, code: ErrorCode, detail: string): Response {
  return toProblem(new RpcError(code, detail))
}

export function toProblem(thrown: unknown): Response {
  const error = RpcError.from(thrown)
  const status = httpStatusOf(error)
  const headers: Record<string, string> = { 'content-type': 'application/problem+json' }
  if (error.retryAfterMs !== undefined) headers['retry-after'] = String(Math.ceil(error.retryAfterMs / 1000))
  if (error.code === 'unauthenticated') headers['www-authenticate'] = 'Bearer realm="shoal"'
  const body = { type: 'about:blank', title: error.code, status, detail: error.message }
  return new Response(JSON.stringify(body), { status, headers })
}
