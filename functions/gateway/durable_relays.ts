import { LIMITS } from '../../shared/base/limits.ts'
import type { Random } from '../../shared/base/random.ts'
import { Pool } from '../../shared/contracts/pool.ts'
import { issueEnrolToken } from '../../shared/relay/enrol_token.ts'
import type { Send } from '../../shared/rpc/send.ts'
import type { LeaseStore } from '../../shared/stores/lease_store.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import { type RelayEnv, secretOf } from '../relay/env.ts'
import { type Fetcher, fetchFrames } from '../relay/frame_fetch.ts'
import type { Relays } from './deps.ts'

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
): { relays: Relays; reachRelay(name: string): Send | undefined } {
  const names = relayNames(env.RELAYS ?? '1')
  const sends = new Map(names.map((name) => [name, fetchFrames(() => env.RELAY.getByName(name))]))
  return {
    reachRelay: (name) => sends.get(name),
    relays: {
      async enrol() {
        const secret = secretOf(env)
        const relay = await emptiest(names, deps)
        return { relay, ...await issueEnrolToken(secret, relay) }
      },
      connect(context, name) {
        if (sends.has(name)) return env.RELAY.getByName(name).fetch(context.req.raw)
        throw new RpcError('not_found', `Cannot open the socket: there is no relay "${name}" here (enrol again)`)
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
  // Workers must be able to come while the registry is away.
  const listing = names.length > 1 ? await leases.list(Pool.name).catch(() => undefined) : undefined
  const listed = listing && 'instances' in listing ? listing.instances : []
  const workers = names.map((name) => listed.find(({ id }) => id === name)?.weight ?? 0)
  const fewest = Math.min(...workers)
  const among = names.filter((_, i) => workers[i] === fewest)
  return among[Math.floor(random() * among.length)] ?? 'relay-0'
}
