import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'
import { isSuspect, type LeasedInstance } from '../../../shared/stores/lease_store.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { GatewayDeps } from '../deps.ts'
import { pings } from '../pings.ts'

/**
 * What is registered. `tableAgeMs` tells how old the answer is: 0 as long as the store answers, and when it is out of reach
 * the age of this gateway's own table.
 */
export function services(deps: GatewayDeps): Hono {
  const app = new Hono()

  app.get('/', async (context) => {
    const names = await deps.leases.services().catch((thrown) => {
      const known = deps.table.inUse()
      if (known.length === 0) throw thrown
      return known.sort()
    })
    const tables = await Promise.all(names.map(async (service) => {
      const view = await deps.table.view(service)
      if (!view) return []
      const { instances, ageMs } = view
      const suspects = instances.filter(isSuspect).length
      return [{ service, tableAgeMs: ageMs, ...kindsOf(instances), instances: instances.length, suspects }]
    }))
    return context.json({ services: names, tables: tables.flat() })
  })

  // A caller that has a revision asks cheaply whether it is still that one.
  app.get('/:service', async (context) => {
    const { service } = context.req.param()
    const known = /^"(\d+)"$/.exec(context.req.header('if-none-match') ?? '')?.[1]
    const { instances, tableAgeMs, ...state } = await read(service, known === undefined ? undefined : Number(known))
    if (state.revision !== undefined) context.header('etag', `"${state.revision}"`)
    if (!instances) return context.body(null, 304)
    if (instances.length === 0) {
      throw new RpcError('not_found', `Cannot list ${service}: no instance of it is registered`)
    }
    return context.json({ service, ...state, tableAgeMs, ...kindsOf(instances), instances: instances.map(shown) })
  })

  app.get('/:service/events', (context) => {
    const { service } = context.req.param()
    if (!deps.watch) {
      throw new RpcError(
        'unimplemented',
        `Cannot watch ${service}: this gateway does not live on between requests; poll /registry/services/${service} with If-None-Match`,
      )
    }
    const gone = new AbortController()
    const news = deps.watch.watch(service, AbortSignal.any([gone.signal, context.req.raw.signal]))
    return streamSSE(context, async (stream) => {
      stream.onAbort(() => gone.abort())
      const stopPings = pings(stream, deps.clock)
      try {
        for await (const { instances, ageMs } of news) {
          const data = { service, tableAgeMs: ageMs, ...kindsOf(instances), instances: instances.map(shown) }
          await stream.writeSSE({ event: 'table', data: JSON.stringify(data) })
        }
      } finally {
        stopPings()
      }
    })
  })

  async function read(service: string, sinceRevision: number | undefined): Promise<Reading> {
    try {
      const listing = await deps.leases.list(service, sinceRevision)
      if ('unchanged' in listing) return { revision: listing.revision, tableAgeMs: 0 }
      return { ...listing, tableAgeMs: 0 }
    } catch (thrown) {
      const view = await deps.table.view(service)
      if (!view) throw thrown
      return { instances: view.instances, tableAgeMs: view.ageMs }
    }
  }

  return app
}

interface Reading {
  revision?: number
  /** The revisions up to this one. */
  recent?: readonly number[]
  bornAtMs?: number
  readAtMs?: number
  /** Absent if they have not changed. */
  instances?: readonly LeasedInstance[]
  tableAgeMs: number
}

/** Whose key registered it is between gateways. */
function shown({ owner: _, ...instance }: LeasedInstance) {
  return instance
}

function kindsOf(instances: readonly LeasedInstance[]): { versions: string[]; groups: string[] } {
  const distinct = (values: string[]) => [...new Set(values)].sort()
  return {
    versions: distinct(instances.map(({ version }) => version)),
    groups: distinct(instances.map(({ group }) => group)),
  }
}
