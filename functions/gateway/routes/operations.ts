import { Hono } from 'hono'
import type { GatewayDeps } from '../deps.ts'
import { sumMetrics } from '../sum_metrics.ts'

/** Probes and metrics. Ready means that a request can be routed: a store that is away does not change that. */
export function operations(deps: GatewayDeps): Hono {
  const app = new Hono()
  app.get('/livez', (context) => context.text('ok\n'))
  app.get('/readyz', (context) => context.text('ok\n'))
  app.get('/metrics', async (context) => {
    const text = sumMetrics([deps.metrics.render(), ...await deps.relays.metrics?.() ?? []])
    return context.body(text, 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
  })
  return app
}
