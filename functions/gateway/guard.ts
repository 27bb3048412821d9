import type { Context, MiddlewareHandler } from 'hono'
import { RpcError } from '../../shared/wire/errors.ts'
import type { KeyRing, Scope } from '../../shared/stores/keys.ts'

/** How the gateway admits callers. `open`: loopback without keys, for one person on one machine. */
export type Guard = { mode: 'open' } | { mode: 'keys'; ring: Pick<KeyRing, 'admit'> }

const LOOPBACK_HOST = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i
const SECRET_PARAMETERS = ['token', 'key', 'api_key', 'access_token', 'authorization']

/** Refuses what no route should see: secrets in URLs, and foreign host names on an open gateway. */
export function guardAll(guard: Guard): MiddlewareHandler {
  return async (context, next) => {
    const { url } = context.req.raw
    if (url.includes('?')) refuseSecrets(new URL(url))
    // An open gateway trusts its address; a page that makes its own name resolve to it (DNS rebinding) is not trusted.
    if (guard.mode === 'open' && !LOOPBACK_HOST.test(context.req.header('host') ?? '')) {
      throw new RpcError(
        'permission_denied',
        'Cannot accept the request: without keys only loopback host names are served',
      )
    }
    await next()
  }
}

/** Admits callers whose key has the scope. */
export function requireScope(guard: Guard, scope: Scope): MiddlewareHandler {
  return async (context, next) => {
    if (guard.mode === 'keys') await guard.ring.admit(context.req.header('authorization') ?? null, scope)
    await next()
  }
}

/** Browsers send an Origin with WebSockets but do not enforce it: only pages of this gateway may open one. */
export function requireSameOrigin(context: Context): void {
  const origin = context.req.header('origin')
  if (origin === undefined) return
  const host = context.req.header('host') ?? ''
  if (!URL.canParse(origin) || new URL(origin).host !== host) {
    throw new RpcError('permission_denied', `Cannot open the socket: its page must come from ${host}, got ${origin}`)
  }
}

function refuseSecrets(url: URL): void {
  for (const name of SECRET_PARAMETERS) {
    if (url.searchParams.has(name)) {
      throw new RpcError(
        'invalid_argument',
        `Cannot accept the request: "${name}" must not stand in a URL; use the Authorization header`,
      )
    }
  }
}
