import { DEFAULTS } from '../../shared/base/defaults.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { Pool } from '../../shared/contracts/pool.ts'
import { type ConsumerDeps, JobConsumer } from '../../shared/jobs/job_consumer.ts'
import type { GatewayDeps } from './deps.ts'
import { serviceSends } from './rpc_answer.ts'

/**
 * Works on jobs as the gateway would on calls: by the same ways, and at the pace of the pools that it reaches.
 * @param usable workers that take calls in this very process
 */
export function gatewayConsumer(
  deps: GatewayDeps,
  usable: () => number,
  more: Pick<ConsumerDeps, 'rest'> = {},
): JobConsumer {
  const choose = serviceSends(deps)
  return new JobConsumer({
    ...deps,
    ...more,
    random: Math.random,
    store: deps.jobs.store,
    send: (request, owner) => choose(request.service)(owner ? { ...request, caller: owner } : request),
    // Hosts with an address of their own count as one worker each: if they have more, they answer the sooner.
    capacity: () => ({
      // Half of a queue's bound: the rest is for calls.
      model: Math.min(DEFAULTS.jobsPerWorker * (usable() + hosts(deps)), LIMITS.maxQueuedCalls / 2),
      function: DEFAULTS.jobCalls,
    }),
    onChange: (id) => deps.jobs.feed.tell(id),
  })
}

/** GPU hosts in the registry, as far as this process knows without asking the store. */
function hosts({ table }: GatewayDeps): number {
  return table.fresh(Pool.name)?.filter(({ address }) => address.kind === 'url').length ?? 0
}
