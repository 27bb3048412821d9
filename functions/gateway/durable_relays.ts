import { LIMITS } from '../../shared/base/limits.ts'
import type { Random } from '../../shared/base/random.ts'
import { Jobs } from '../../shared/contracts/jobs.ts'
import { Pool } from '../../shared/contracts/pool.ts'
import { issueEnrolToken } from '../../shared/relay/enrol_token.ts'
import { clientOver } from '../../shared/rpc/client.ts'
import type { Send } from '../../shared/rpc/send.ts'
import type { LeasedInstance, LeaseStore } from '../../shared/stores/lease_store.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import { type RelayEnv, secretOf } from '../relay/env.ts'
import { type Fetcher, fetchFrames } from '../relay/frame_fetch.ts'
import type { Relays } from './deps.ts'

/** Relays that one submission wakes: others look for jobs with their next beat. */
const MAX_WOKEN = 4
const WAKE_TIMEOUT_MS = 5_000

/** How long one relay may take to write its metrics before they go out without them. */
const METRICS_TIMEOUT_MS = 2_000

/** The part of Cloudflare's DurableObjectNamespace that is used. */
export interface RelayNamespace {
  getByName(name: string): Fetcher & { fetch(request: Request): Promise<Response> }
}

/**
 * The relays of a deployment, `relay-0` and so on: as many Durable Objects as the variable RELAYS says. Only these names
 * are reached, since whoever could make names up could make objects up.
 */
export function durableRelays(
  env: RelayEnv & { RELAY: RelayNamespace; RELAYS?: string },
  deps: { leases: Pick<LeaseStore, 'list'>; random: Random },
): {
  relays: Relays
  reachRelay(name: string): Send | undefined
  /** Tells relays that there are jobs, or which is no longer wanted. @returns when they have heard */
  wakeRelays(canceled?: string): Promise<void>
} {
  const names = relayNames(env.RELAYS ?? '1')
  const sends = new Map(names.map((name) => [name, fetchFrames(() => env.RELAY.getByName(name))]))
  return {
    reachRelay: (name) => sends.get(name),
    async wakeRelays(canceled) {
      const populated = (await listPools(deps.leases)).map(({ id }) => id).filter((id) => sends.has(id))
      // Without workers anywhere one relay does what needs none: jobs for functions.
      const woken = (populated.length > 0 ? populated : names.slice(0, 1)).slice(0, MAX_WOKEN)
      await Promise.allSettled(woken.map((name) => {
        const send = sends.get(name)
        if (!send) return
        const transport = { send, codec: 'tensors', close() {} } as const
        return clientOver(Jobs, { transport, timeoutMs: WAKE_TIMEOUT_MS }).wake({ canceled })
      }))
    },
    relays: {
      async enrol(volunteer) {
        const secret = secretOf(env)
        const relay = await emptiest(names, deps)
        return { relay, ...await issueEnrolToken(secret, relay, undefined, undefined, volunteer) }
      },
      connect(context, name) {
        if (sends.has(name)) return env.RELAY.getByName(name).fetch(context.req.raw)
        throw new RpcError('not_found', `Cannot open the socket: there is no relay "${name}" here (enrol again)`)
      },
      async metrics() {
        // Those with workers: asking the others would wake them.
        const listed = (await listPools(deps.leases)).filter(({ id }) => sends.has(id))
        const texts = await Promise.allSettled(listed.map(({ id }) => metricsOf(env.RELAY.getByName(id))))
        return texts.flatMap((text) => text.status === 'fulfilled' ? [text.value] : [])
      },
    },
  }
}

function relayNames(count: string): string[] {
  const length = Number(count)
  if (!Number.isInteger(length) || length < 1 || length > LIMITS.maxLeaseBatch) {
    throw invalid(`Cannot use RELAYS: it must be a whole number from 1 to ${LIMITS.maxLeaseBatch}, got "${count}"`)
  }
  return Array.from({ length }, (_, i) => `relay-${i}`)
}

/** The relay with the fewest workers, as far as the registry knows; one of several by chance. */
async function emptiest(
  names: readonly string[],
  { leases, random }: { leases: Pick<LeaseStore, 'list'>; random: Random },
): Promise<string> {
  const listed = names.length > 1 ? await listPools(leases) : []
  const workers = names.map((name) => listed.find(({ id }) => id === name)?.weight ?? 0)
  const fewest = Math.min(...workers)
  const among = names.filter((_, i) => workers[i] === fewest)
  return among[Math.floor(random() * among.length)] ?? 'relay-0'
}

/** Pools in the registry; none while it is away, when workers must be able to come all the same. */
async function listPools(leases: Pick<LeaseStore, 'list'>): Promise<readonly LeasedInstance[]> {
  const listing = await leases.list(Pool.name).catch(() => undefined)
  return listing && 'instances' in listing ? listing.instances : []
}

async function metricsOf(relay: Fetcher): Promise<string> {
  const response = await relay.fetch('https://relay/metrics', { signal: AbortSignal.timeout(METRICS_TIMEOUT_MS) })
  return await response.text()
}
