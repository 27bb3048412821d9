import { type Context, Hono } from 'hono'
import * as z from 'zod'
import { isReserved } from '../../../shared/contracts/internal.ts'
import { Pool } from '../../../shared/contracts/pool.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { isVersion } from '../../../shared/base/version.ts'
import { wordIssue } from '../../../shared/base/schema_issue.ts'
import { readBody } from '../../../shared/rpc/http.ts'
import type { Instance } from '../../../shared/stores/lease_store.ts'
import { decodeJson } from '../../../shared/wire/codec.ts'
import { invalid, RpcError } from '../../../shared/wire/errors.ts'
import type { GatewayDeps } from '../deps.ts'
import type { CallerVariables } from '../guard.ts'
import { isForbiddenHost } from '../forbidden_host.ts'
import { toProblem } from './problem.ts'
import { services } from './services.ts'

const text = z.string().min(1).max(LIMITS.maxNameLength)
export const instance = z.strictObject({
  id: text,
  service: text.regex(/^[A-Za-z][\w.]*$/, 'expected a service name such as demo.Hello')
    .refine((name) => name === Pool.name || !isReserved(name), 'expected a name of your own, shoal.* is reserved'),
  version: text.refine(isVersion, 'expected semver such as 1.0.0'),
  group: text.default('default'),
  url: z.url({ protocol: /^https?$/, error: 'expected an http(s) URL' }).max(2000)
    .refine(
      (url) => !isForbiddenHost(URL.parse(url)?.hostname ?? ''),
      'expected an address that is no link-local or metadata one',
    ),
  /** It takes calls over sockets as well. */
  sockets: z.boolean().default(false),
  incarnation: text,
  ttlMs: z.number().int().min(1000).max(LIMITS.maxLeaseMs).default(DEFAULTS.functionLeaseMs),
  weight: z.number().positive().max(1000).default(1),
  zone: z.string().max(LIMITS.maxNameLength).default(''),
})

/**
 * Registration of functions and hosts that have a URL of their own, and the listing of what is registered. Hosts, which
 * serve `shoal.Pool`, and functions with sockets are answered the token with which gateways will call them.
 */
export function registry(deps: GatewayDeps): Hono<CallerVariables> {
  const app = new Hono<CallerVariables>()

  app.post('/instances', async (context) => {
    const record = readInstance(decodeJson(await readBody(context.req.raw, LIMITS.maxControlBytes)))
    return context.json(await renew(deps, record, context), 201)
  })

  // A renewal carries the whole record, so that it restores a lease the store has lost.
  app.put('/instances/:id/lease', async (context) => {
    const record = readInstance(decodeJson(await readBody(context.req.raw, LIMITS.maxControlBytes)))
    const { id } = context.req.param()
    if (record.id !== id) throw invalid(`Cannot renew the lease: the body's id must be ${id}, got ${record.id}`)
    return context.json(await renew(deps, record, context))
  })

  app.delete('/instances/:id', async (context) => {
    const { service, incarnation } = context.req.query()
    if (!service || !incarnation) throw invalid('Cannot leave: the queries "service" and "incarnation" are required')
    await admitHost(deps, { service, id: context.req.param('id') }, context)
    await deps.leases.leave(service, context.req.param('id'), incarnation)
    return context.body(null, 204)
  })

  app.route('/services', services(deps))

  app.onError((thrown) => toProblem(thrown))
  return app
}

async function renew(
  deps: GatewayDeps,
  record: Instance & { address: { kind: 'url' } },
  context: Context<CallerVariables>,
): Promise<{ id: string; ttlMs: number; token?: string }> {
  const { id, ttlMs, service, address } = record
  await admitHost(deps, record, context)
  const kind = service === Pool.name ? 'host' : address.sockets ? 'function' : undefined
  // Whoever is called with a token is its key's own: the same address is another's, by another key.
  const owner = kind && context.get('caller')
  const refused = await deps.leases.renew([{ ...record, owner }])
  if (refused.length > 0) {
    throw new RpcError(
      'aborted',
      `Cannot register ${record.id}: its incarnation ${record.incarnation} is over; start a new one`,
    )
  }
  if (kind === undefined) return { id, ttlMs }
  return { id, ttlMs, token: await deps.hostToken({ kind, url: address.url, owner }) }
}

/**
 * A pool is given callers' inputs, as workers are: whoever registers one must be allowed both. One that is known is the
 * key's that registered it, as far as this gateway's table tells: its token is, whatever the table tells.
 */
async function admitHost(
  { guard, table }: GatewayDeps,
  { service, id }: Pick<Instance, 'service' | 'id'>,
  context: Context<CallerVariables>,
): Promise<void> {
  if (service !== Pool.name || guard.mode === 'open') return
  const key = await guard.ring.admit(context.req.header('authorization') ?? null, 'worker')
  const known = (await table.view(service).catch(() => undefined))?.instances.find((one) => one.id === id)
  if (!known || known.owner === key) return
  throw new RpcError('permission_denied', `Cannot speak for ${id}: the key must be the one that registered it`)
}

function readInstance(json: unknown): Instance & { address: { kind: 'url' } } {
  const parsed = instance.safeParse(json)
  if (!parsed.success) {
    throw invalid(`Cannot register the instance: ${wordIssue(parsed.error.issues[0])}`)
  }
  const { url, sockets, ...record } = parsed.data
  return { ...record, address: { kind: 'url', url, ...(sockets && { sockets }) } }
}
