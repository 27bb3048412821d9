import { type Clock, sleep } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { Metrics } from '../base/metrics.ts'
import { fullJitterMs, type Random } from '../base/random.ts'
import { satisfies } from '../base/version.ts'
import { abortError } from '../rpc/deadline.ts'
import type { RpcRequest, RpcResponse, Send } from '../rpc/send.ts'
import type { LeasedInstance } from '../stores/lease_store.ts'
import { RpcError } from '../wire/errors.ts'
import { LoadBook } from './load.ts'
import { p2c } from './picker.ts'
import { RetryBudget } from './retry_budget.ts'

export interface RouterDeps {
  /** Live instances of a service, from a table in memory. */
  instances(service: string): Promise<readonly LeasedInstance[]>
  /** A way to call one instance; undefined if this process cannot reach addresses of its kind. */
  connect(instance: LeasedInstance): Send | undefined
  /** Tells the table that an instance did not answer. */
  onUnreachable(service: string): void
  clock: Clock
  random: Random
  metrics: Metrics
}

/**
 * Calls a service by name: pick an instance, attempt, retry on another where that is safe. The deadline is the
 * request's signal and spans all attempts.
 */
export function createRouter(deps: RouterDeps): Send {
  const loads = new LoadBook(deps.clock)
  const budget = new RetryBudget(deps.clock)
  const pick = p2c((instance) => loads.cost(instance.id), deps.random)

  return async (request) => {
    const tried = new Set<string>()
    budget.deposit()
    for (let attempt = 1;; attempt++) {
      const { instance, send } = choose(await candidates(deps, request), tried)
      tried.add(instance.id)
      const end = loads.begin(instance.id)
      try {
        const response = await send(request)
        return withMetadata(response, { 'shoal-attempts': String(attempt) })
      } catch (thrown) {
        const error = request.signal.aborted ? abortError(request.signal.reason) : RpcError.from(thrown)
        if (error.code === 'unavailable') deps.onUnreachable(request.service)
        const again = attempt < DEFAULTS.maxAttempts && isRetryable(error, request) && budget.withdraw()
        deps.metrics.count('shoal_router_failures_total', { code: error.code, retried: String(again) })
        if (!again) throw error
        await sleep(deps.clock, error.retryAfterMs ?? backOffMs(attempt), request.signal).catch((reason) => {
          throw abortError(reason)
        })
      } finally {
        end()
      }
    }
  }

  function choose(found: readonly Reachable[], tried: ReadonlySet<string>): Reachable {
    loads.keepOnly(new Set(found.map(({ instance }) => instance.id)))
    const fresh = found.filter(({ instance }) => !tried.has(instance.id))
    const among = fresh.length > 0 ? fresh : found
    const chosen = pick(among.map(({ instance }) => instance))
    const reachable = among.find(({ instance }) => instance === chosen)
    if (!reachable) throw new RpcError('internal', 'Cannot pick an instance: the picker chose none of them')
    return reachable
  }

  function backOffMs(attempt: number): number {
    return fullJitterMs(attempt - 1, { baseMs: DEFAULTS.retryBaseMs, capMs: DEFAULTS.retryCapMs }, deps.random)
  }
}

interface Reachable {
  instance: LeasedInstance
  send: Send
}

async function candidates(deps: RouterDeps, request: RpcRequest): Promise<Reachable[]> {
  const { service, version, group } = request
  const all = await deps.instances(service)
  const inGroup = all.filter((instance) => instance.group === group)
  const matching = inGroup.filter((instance) => satisfies(instance.version, version))
  const reachable: Reachable[] = []
  for (const instance of matching) {
    const send = deps.connect(instance)
    if (send) reachable.push({ instance, send })
  }
  if (reachable.length > 0) return reachable
  if (inGroup.length > 0 && matching.length === 0) {
    const known = [...new Set(inGroup.map((instance) => instance.version))].join(', ')
    throw new RpcError(
      'failed_precondition',
      `Cannot call ${service}: version ${version} was asked for, there is ${known}`,
    )
  }
  if (all.length === 0) throw new RpcError('not_found', `Cannot call ${service}: no instance of it is registered`)
  throw new RpcError('unavailable', `Cannot call ${service}: no instance of group "${group}" can be reached`, {
    retryAfterMs: 1000,
  })
}

/** Safe to try elsewhere: nothing can have happened yet, or happening twice does no harm. */
function isRetryable(error: RpcError, request: RpcRequest): boolean {
  if (error.code !== 'unavailable') return false
  return error.neverSent || request.idempotent
}

function withMetadata(response: RpcResponse, added: Record<string, string>): RpcResponse {
  return { ...response, metadata: { ...response.metadata, ...added } }
}
