import { DEFAULTS } from '../../shared/base/defaults.ts'
import type { Metrics } from '../../shared/base/metrics.ts'
import { Jobs } from '../../shared/contracts/jobs.ts'
import { Pool } from '../../shared/contracts/pool.ts'
import type { JobConsumer } from '../../shared/jobs/job_consumer.ts'
import type { Hub } from '../../shared/relay/hub.ts'
import { implement, type Implementation } from '../../shared/rpc/server.ts'
import type { Instance } from '../../shared/stores/lease_store.ts'
import { cloudflarePlatform, type GatewayEnv } from '../gateway/cloudflare_platform.ts'
import { gatewayConsumer } from '../gateway/job_consumer.ts'
import { wireGateway } from '../gateway/wire.ts'
import { redisOf } from './env.ts'

export interface DurableJobsDeps {
  /** The relay's own hub: its workers are called without leaving the object. */
  hub(): Hub
  metrics: Metrics
  /** Sees to it that the object is awake by then. */
  wakeWithin(delayMs: number): void
}

/**
 * A relay's work on jobs. It holds nothing: what the object's sleep or end interrupts is given out again when its lease
 * is over. It is woken by gateways when jobs come, by its own alarm when one falls due, and looks with every beat.
 */
export class DurableJobs {
  readonly #env: GatewayEnv
  readonly #deps: DurableJobsDeps
  #consumer: JobConsumer | undefined

  constructor(env: GatewayEnv, deps: DurableJobsDeps) {
    this.#env = env
    this.#deps = deps
  }

  /** What gateways call. */
  get service(): Implementation {
    return implement(Jobs, {
      wake: ({ canceled }) => {
        if (canceled !== undefined) this.#consumer?.drop(canceled)
        else void this.look()
        return {}
      },
    })
  }

  /** Looks for jobs, where there is a queue. */
  async look(): Promise<void> {
    if (!redisOf(this.#env)) return
    this.#consumer ??= this.#open()
    await this.#consumer.wake()
  }

  #open(): JobConsumer {
    const { hub, metrics, wakeWithin } = this.#deps
    // Nothing of an object's ends with a request, so nothing needs to be kept alive beyond it.
    const platform = cloudflarePlatform(this.#env, () => {})
    const gateway = wireGateway({
      ...platform,
      metrics,
      reachRelay: (name) => name === hub().name ? hub().send : platform.reachRelay(name),
      // Known here before the registry has heard of it.
      localPools: () => hub().populated ? [poolOf(hub())] : [],
    })
    return gatewayConsumer(gateway, () => hub().usable, {
      // No timer: it would keep the object awake. An hour and more is left to the beats.
      rest(delayMs) {
        if (delayMs !== undefined && delayMs < 3_600_000) wakeWithin(delayMs)
        return () => {}
      },
    })
  }
}

/** The relay's own pool, as its registration describes it. */
function poolOf({ name, usable }: Hub): Instance {
  return {
    id: name,
    service: Pool.name,
    version: Pool.version,
    group: 'default',
    address: { kind: 'relay', name },
    incarnation: name,
    ttlMs: DEFAULTS.durableRelayLeaseMs,
    weight: usable,
    zone: '',
  }
}
