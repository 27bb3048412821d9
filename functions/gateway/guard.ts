import type { Context, MiddlewareHandler } from 'hono'
import { RpcError } from '../../shared/wire/errors.ts'
import type { KeyRing, Scope } from '../../shared/stores/keys.ts'

/** How the gateway admits callers. `open`: loopback without keys, for one person on one machine. */
export type Guard = { mode: 'open' } | { mode: 'keys'; ring: Pick<KeyRing, 'admit'> }

const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i
const SECRET_PARAMETERS = ['token', 'key', 'api_key', 'access_token', 'authorization']

/** Refuses what no route should see: secrets in URLs, and foreign host names on an open gateway. */
export function guardAll(guard: Guard): MiddlewareHandler {
  return async (context, next) => {
    const { url } = context.req.raw
    if (url.includes('?')) refuseSecrets(new URL(url))
    if (guard.mode === 'open') requireLocalCaller(context)
    await next()
  }
}

/**
 * An open gateway trusts whoever can reach its address. Pages of other sites can, through their visitor's browser: one
 * that makes its own name resolve to this address (DNS rebinding), or one that simply sends requests here.
 */
function requireLocalCaller(context: Context): void {
  if (!LOOPBACK_HOST.test(context.req.header('host') ?? '')) {
    throw new RpcError(
      'permission_denied',
      'Cannot accept the request: without keys only loopback host names are served',
    )
  }
  requireSameOrigin(context)
}

/** Admits callers whose key has the scope. */
export function requireScope(guard: Guard, scope: Scope): MiddlewareHandler {
  return async (context, next) => {
    if (guard.mode === 'keys') await guard.ring.admit(context.req.header('authorization') ?? null, scope)
    await next()
  }
}

/** Browsers say whose page sends a request, but send it all the same: only pages of this gateway may. */
export function requireSameOrigin(context: Context): void {
  const origin = context.req.header('origin')
  if (origin === undefined) return
  const host = context.req.header('host') ?? ''
  if (!URL.canParse(origin) || new URL(origin).host !== host) {
    throw new RpcError('permission_denied', `Cannot accept the request: its page must come from ${host}, got ${origin}`)
  }
}

function refuseSecrets(url: URL): void {
  for (const name of url.searchParams.keys()) {
    if (SECRET_PARAMETERS.includes(name.toLowerCase())) {
      throw new RpcError(
        'invalid_argument',
        `Cannot accept the request: "${name}" must not stand in a URL; use the Authorization header`,
      )
    }
  }
}
