import { Metrics } from '../../shared/base/metrics.ts'
import { R2BlobStore, type R2BucketLike } from '../../shared/models/r2_blob_store.ts'
import { readPolicies } from '../../shared/routing/policy.ts'
import { KeyRing, parseKeys } from '../../shared/stores/keys.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { jobsOf, leasesOf, logOf, type RelayEnv, secretOf, wallClock } from '../relay/env.ts'
import { durableRelays, type RelayNamespace } from './durable_relays.ts'
import type { Guard } from './guard.ts'
import { type KeepAlive, outlivingBlobs, outlivingLeases } from './outlive.ts'
import type { Platform } from './wire.ts'

/** Bindings, variables and secrets of the Worker: wrangler.toml and infra/DEPLOY.md name them all. */
export interface GatewayEnv extends RelayEnv {
  RELAY: RelayNamespace
  BLOBS: R2BucketLike
  ASSETS: { fetch(url: string): Promise<Response> }
  /** How many relays there are, 1 by default. */
  RELAYS?: string
  /** API keys as `shoal keys list --json` prints them. */
  SHOAL_KEYS?: string
  /** '1' serves loopback host names without keys: for development alone. */
  SHOAL_OPEN?: string
  /** How calls are routed, by service, as JSON: `RoutingPolicy` in shared/routing/policy.ts. */
  SHOAL_ROUTING?: string
}

/** What the gateway is made of on Cloudflare. It may be shared by requests: nothing in it belongs to one. */
export function cloudflarePlatform(env: GatewayEnv, keepAlive: KeepAlive): Platform {
  const leases = outlivingLeases(leasesOf(env), keepAlive)
  const { wakeRelays, ...relays } = durableRelays(env, { leases, random: Math.random })
  return {
    guard: guardOf(env),
    leases,
    blobs: outlivingBlobs(new R2BlobStore(env.BLOBS), keepAlive),
    ...relays,
    jobs: { store: jobsOf(env), wake: (canceled) => keepAlive(wakeRelays(canceled).catch(() => {})) },
    localPools: () => [],
    secret: () => secretOf(env),
    routing: env.SHOAL_ROUTING ? readPolicies(env.SHOAL_ROUTING) : undefined,
    async assets(path) {
      const response = await env.ASSETS.fetch(`https://assets${path}`)
      if (!response.ok) throw new RpcError('not_found', `Cannot find ${path}: no such file`)
      return response
    },
    clock: wallClock,
    random: Math.random,
    metrics: new Metrics(),
    log: logOf(env),
  }
}

/** Keys, unless loopback is to be served without: what was forgotten must not leave a deployment open. */
function guardOf({ SHOAL_KEYS: keys, SHOAL_OPEN: open }: GatewayEnv): Guard {
  if (keys) return { mode: 'keys', ring: new KeyRing({ load: async () => parseKeys(keys) }, wallClock) }
  if (open === '1') return { mode: 'open' }
  const admit = async () => {
    throw new RpcError('unavailable', 'Cannot accept the request: the secret SHOAL_KEYS must be set, got none')
  }
  return { mode: 'keys', ring: { admit } }
}
