import { Hono } from 'hono'
import { Pool, type WorkerState } from '../../../shared/contracts/pool.ts'
import { clientOver } from '../../../shared/rpc/client.ts'
import { invalid } from '../../../shared/wire/errors.ts'
import type { GatewayDeps } from '../deps.ts'
import { isVolunteer } from '../guard.ts'
import { toProblem } from './problem.ts'

/** How long one relay may take to list its workers before the list goes out without them. */
const LIST_TIMEOUT_MS = 2_000

/** The workers' side: enrolment, the socket, and the list of who is there. */
export function workers(deps: GatewayDeps): Hono {
  const app = new Hono()

  app.post('/workers/enrol', async (context) => {
    // A volunteer's key gives no more; whoever has another may ask for less.
    const volunteer = isVolunteer(context) || context.req.query('models') === 'public'
    const { relay, token, expiresInMs } = await deps.relays.enrol(volunteer)
    return context.json({ relay, token, expiresInMs, connect: `/relay/connect?relay=${encodeURIComponent(relay)}` })
  })

  app.get('/relay/connect', (context) => {
    const relay = context.req.query('relay')
    if (!relay) throw invalid('Cannot open the socket: the query "relay" must name the relay that the enrolment gave')
    if (context.req.header('upgrade')?.toLowerCase() !== 'websocket') {
      throw invalid('Cannot open the socket: expected a WebSocket upgrade with subprotocol shoal.v1')
    }
    return deps.relays.connect(context, relay)
  })

  app.get('/workers', async (context) => {
    const pools = await deps.pools()
    const listed = await Promise.allSettled(
      pools.map(({ send }) =>
        clientOver(Pool, { transport: { send, codec: 'tensors', close() {} }, timeoutMs: LIST_TIMEOUT_MS }).workers({})
      ),
    )
    const found: (WorkerState & { relay: string })[] = []
    const waiting = new Map<string, number>()
    const silent: string[] = []
    for (const [i, outcome] of listed.entries()) {
      if (outcome.status !== 'fulfilled') {
        silent.push(pools[i]?.instance.id ?? '')
        continue
      }
      for (const worker of outcome.value.workers) found.push({ ...worker, relay: outcome.value.relay })
      for (const { model, calls } of outcome.value.queues ?? []) waiting.set(model, calls + (waiting.get(model) ?? 0))
    }
    const queues = [...waiting].map(([model, calls]) => ({ model, calls }))
    return context.json({ workers: found, queues, silent })
  })

  app.onError((thrown) => toProblem(thrown))
  return app
}
