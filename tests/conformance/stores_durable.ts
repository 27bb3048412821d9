/** A Durable Object that runs the suite of single-use keys on its own database, and the Worker that asks it to. */
import { DurableObject } from 'cloudflare:workers'
import { durableOnce } from '../../functions/relay/durable_once.ts'
import { FakeClock } from '../../shared/base/clock.ts'
import { runSuites } from '../suite.ts'
import { onceStoreSuite } from './once_store_suite.ts'

export class Stores extends DurableObject<unknown> {
  async fetch(): Promise<Response> {
    const { sql } = this.ctx.storage
    const suite = onceStoreSuite('Durable Object', async () => {
      const clock = new FakeClock()
      const [store, other] = [durableOnce(sql, clock), durableOnce(sql, clock)]
      return {
        store,
        other,
        elapse: (ms) => clock.advance(ms),
        close: async () => void sql.exec('DELETE FROM once_keys'),
      }
    })
    return Response.json({ userAgent: navigator.userAgent, results: await runSuites([suite]) })
  }
}

interface Env {
  STORES: { getByName(name: string): { fetch(request: Request): Promise<Response> } }
}

export default {
  fetch: (request: Request, env: Env): Promise<Response> => env.STORES.getByName('only').fetch(request),
}
