import { type Clock, sleep } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { Metrics } from '../base/metrics.ts'
import { fullJitterMs, type Random } from '../base/random.ts'
import { abortError, untilAborted } from '../rpc/deadline.ts'
import type { RpcRequest, RpcResponse, Send } from '../rpc/send.ts'
import type { LeasedInstance } from '../stores/lease_store.ts'
import { type ErrorCode, RpcError } from '../wire/errors.ts'
import { LoadBook } from './load.ts'
import { Matcher, type Tiers } from './match.ts'
import { p2c, type Picker } from './picker.ts'
import { RetryBudget } from './retry_budget.ts'

export interface RouterDeps {
  /**
   * Live instances of a service, from a table in memory: the same list again as long as nothing has changed. Not a promise
   * where it is at hand: nearly every call finds it so, and waiting for what is there costs each of them a turn.
   */
  instances(service: string): readonly LeasedInstance[] | Promise<readonly LeasedInstance[]>
  /** A way to call one instance; undefined if this process cannot reach addresses of its kind. */
  connect(instance: LeasedInstance): Send | undefined
  /** Tells the table that an instance did not answer. */
  onUnreachable(service: string): void
  clock: Clock
  random: Random
  metrics: Metrics
}

/** What is learnt of a service by calling it. */
interface Known {
  book: LoadBook
  budget: RetryBudget
  pick: Picker
  /** The table that `book` was last pruned by. */
  table: readonly LeasedInstance[] | undefined
}

/**
 * Calls a service by name: pick an instance, attempt, retry on another where that is safe. The deadline is the
 * request's signal and spans all attempts. The highest compatible version serves; older ones where it cannot.
 */
export function createRouter(deps: RouterDeps): Send {
  const matcher = new Matcher()
  const services = new Map<string, Known>()

  return async (request) => {
    const startedAtMs = deps.clock.now()
    const remainingMs = () => request.timeoutMs - (deps.clock.now() - startedAtMs)
    const tried = new Set<string>()
    for (let attempt = 1;; attempt++) {
      const found = deps.instances(request.service)
      const all = found instanceof Promise ? await untilAborted(found, request.signal) : found
      const known = learn(request.service, all)
      if (attempt === 1) known.budget.deposit()
      const { instance, send } = choose(matcher.match(all, request), known.pick, tried, request)
      tried.add(instance.id)
      const end = known.book.begin(instance.id)
      try {
        // Each hop is told what is left, not what there was at first.
        const response = await send(attempt === 1 ? request : { ...request, timeoutMs: Math.max(1, remainingMs()) })
        end(false)
        return withMetadata(response, { 'shoal-attempts': String(attempt) })
      } catch (thrown) {
        const error = request.signal.aborted ? abortError(request.signal.reason) : RpcError.from(thrown)
        end(FAULTS.has(error.code))
        if (error.code === 'unavailable') deps.onUnreachable(request.service)
        const waitMs = error.retryAfterMs ?? backOffMs(attempt)
        const again = attempt < DEFAULTS.maxAttempts && isRetryable(error, request) && waitMs < remainingMs() &&
          known.budget.withdraw()
        deps.metrics.count('shoal_router_failures_total', { code: error.code, retried: String(again) })
        if (!again) throw error
        await sleep(deps.clock, waitMs, request.signal).catch((reason) => {
          throw abortError(reason)
        })
      }
    }
  }

  /** What is known of a service; a service without instances is forgotten. */
  function learn(service: string, all: readonly LeasedInstance[]): Known {
    let known = services.get(service)
    if (!known) {
      const book = new LoadBook(deps.clock)
      const pick = p2c(({ id }, capacity) => book.cost(id, capacity), deps.random)
      known = { book, pick, budget: new RetryBudget(deps.clock), table: undefined }
      if (all.length > 0) services.set(service, known)
    } else if (all.length === 0) services.delete(service)
    if (known.table !== all) {
      known.book.keepOnly(new Set(all.map(({ id }) => id)))
      known.table = all
    }
    return known
  }

  /** An instance not tried yet, of the highest version that has one; else one that was tried. */
  function choose(tiers: Tiers, pick: Picker, tried: ReadonlySet<string>, request: RpcRequest) {
    const isFresh = ({ id }: LeasedInstance) => !tried.has(id)
    const fresh = tried.size === 0 ? tiers : tiers.map((tier) => tier.filter(isFresh))
    for (const tier of tried.size === 0 ? tiers : [...fresh, ...tiers]) {
      const found = pickReachable(tier, pick)
      if (found) return found
    }
    throw new RpcError(
      'unavailable',
      `Cannot call ${request.service}: no instance of group "${request.group}" can be reached`,
      { retryAfterMs: DEFAULTS.retryAfterMs, neverSent: true },
    )
  }

  function pickReachable(tier: readonly LeasedInstance[], pick: Picker) {
    let left = tier
    for (let instance = pick(left); instance; instance = pick(left)) {
      const send = deps.connect(instance)
      if (send) return { instance, send }
      const unreachable = instance
      left = left.filter((other) => other !== unreachable)
    }
    return undefined
  }

  function backOffMs(attempt: number): number {
    return fullJitterMs(attempt - 1, { baseMs: DEFAULTS.retryBaseMs, capMs: DEFAULTS.retryCapMs }, deps.random)
  }
}

/** Safe to try elsewhere: nothing can have happened yet, or happening twice does no harm. */
function isRetryable(error: RpcError, request: RpcRequest): boolean {
  if (error.code !== 'unavailable') return false
  return error.neverSent || request.idempotent
}

/** Errors that speak against the instance. That a caller gave up, or asked for something impossible, does not. */
const FAULTS: ReadonlySet<ErrorCode> = new Set([
  'unavailable',
  'internal',
  'unknown',
  'data_loss',
  'resource_exhausted',
])

function withMetadata(response: RpcResponse, added: Record<string, string>): RpcResponse {
  return { ...response, metadata: { ...response.metadata, ...added } }
}
