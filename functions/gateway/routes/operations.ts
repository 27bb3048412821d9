import { Hono } from 'hono'
import { LIMITS } from '../../../shared/base/limits.ts'
import { invalid, RpcError } from '../../../shared/wire/errors.ts'
import type { GatewayDeps, ProcessProbe } from '../deps.ts'
import { sumMetrics } from '../sum_metrics.ts'
import { toProblem } from './problem.ts'

/**
 * Probes and metrics. Ready means that a request can be routed: a store that is away does not change that. And, for
 * admins, a look into the process: what `shoal doctor` shows.
 */
export function operations(deps: GatewayDeps): Hono {
  const app = new Hono()
  app.get('/livez', (context) => context.text('ok\n'))
  app.get('/readyz', (context) => context.text('ok\n'))
  app.get('/metrics', async (context) => {
    const text = sumMetrics([deps.metrics.render(), ...await deps.relays.metrics?.() ?? []])
    return context.body(text, 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
  })
  app.route('/operations', processes(deps))
  return app
}

function processes(deps: GatewayDeps): Hono {
  const app = new Hono()

  app.get('/report', async (context) => context.json({ ...probe(deps).report(), store: await storeHealth(deps) }))

  app.post('/heap-snapshot', () => {
    const headers = { 'content-type': 'application/json', 'content-disposition': 'attachment' }
    return new Response(probe(deps).heapSnapshot(), { headers })
  })

  app.post('/cpu-profile', async (context) => {
    const text = context.req.query('seconds') ?? '5'
    const seconds = Number(text)
    if (!/^\d+$/.test(text) || seconds < 1 || seconds > LIMITS.maxProfileSeconds) {
      throw invalid(
        `Cannot take the profile: seconds must be a whole number from 1 to ${LIMITS.maxProfileSeconds}, got "${text}"`,
      )
    }
    return context.json(await probe(deps).cpuProfile(1000 * seconds, context.req.raw.signal))
  })

  app.onError((thrown) => toProblem(thrown))
  return app
}

function probe({ process }: GatewayDeps): ProcessProbe {
  if (process) return process
  throw new RpcError(
    'unimplemented',
    'Cannot look into the process: the gateway must run on Node or Deno; on Cloudflare the dashboard shows it',
  )
}

/** Whether the store answers, how soon, and whose leases it holds. */
async function storeHealth({ leases, clock }: GatewayDeps): Promise<object> {
  const askedAtMs = clock.now()
  const answer = await leases.services().then(
    (services) => ({ services }),
    (thrown) => ({ failure: RpcError.from(thrown).message }),
  )
  return { answeredInMs: Math.round(1000 * (clock.now() - askedAtMs)) / 1000, ...answer }
}
