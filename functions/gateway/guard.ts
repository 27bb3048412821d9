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
    if (guard.mode === 'open') requireLocalCaller(context.req)
    await next()
  }
}

/**
 * The same decisions for a request whose path is known to be plain, without Hono.
 * @returns a promise only where a key must be looked up: of the key's id, which is who calls
 * @throws RpcError as the middlewares do, at once or by the promise
 */
export function admit(guard: Guard, scope: Scope, request: WithHeaders): Promise<string> | undefined {
  if (guard.mode === 'keys') return guard.ring.admit(request.header('authorization') ?? null, scope)
  requireLocalCaller(request)
  return undefined
}

export interface WithHeaders {
  /** @param name in lower case */
  header(name: string): string | undefined
}

/**
 * An open gateway trusts whoever can reach its address. Pages of other sites can, through their visitor's browser: one
 * that makes its own name resolve to this address (DNS rebinding), or one that simply sends requests here.
 */
function requireLocalCaller(request: WithHeaders): void {
  if (!LOOPBACK_HOST.test(request.header('host') ?? '')) {
    throw new RpcError(
      'permission_denied',
      'Cannot accept the request: without keys only loopback host names are served',
    )
  }
  refuseForeignPages(request)
}

/** Where a request's caller is kept: the id of its key, where keys are asked for. */
export interface CallerVariables {
  Variables: { caller?: string; volunteer?: boolean }
}

/** Admits callers whose key has the scope. */
export function requireScope(guard: Guard, scope: Scope): MiddlewareHandler<CallerVariables> {
  return async (context, next) => {
    if (guard.mode === 'keys') {
      context.set('caller', await guard.ring.admit(context.req.header('authorization') ?? null, scope))
    }
    await next()
  }
}

/** Admits workers' keys, and volunteers' as what they are. */
export function requireWorker(guard: Guard): MiddlewareHandler<CallerVariables> {
  return async (context, next) => {
    if (guard.mode === 'keys') {
      const header = context.req.header('authorization') ?? null
      await guard.ring.admit(header, 'worker').catch(async (thrown) => {
        if (!(thrown instanceof RpcError) || thrown.code !== 'permission_denied') throw thrown
        await guard.ring.admit(header, 'volunteer').catch(() => {
          throw thrown
        })
        context.set('volunteer', true)
      })
    }
    await next()
  }
}

/** Whether `requireWorker` let a volunteer in. */
export function isVolunteer(context: Context): boolean {
  return context.get('volunteer') === true
}

/** Browsers say whose page sends a request, but send it all the same: only pages of this gateway may. */
export function requireSameOrigin(context: Context): void {
  refuseForeignPages(context.req)
}

function refuseForeignPages(request: WithHeaders): void {
  const origin = request.header('origin')
  if (origin === undefined) return
  const host = request.header('host') ?? ''
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
