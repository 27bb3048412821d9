import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { newId, type Random } from '../base/random.ts'
import type { Metrics } from '../base/metrics.ts'
import { bulkhead, type MethodLimit } from '../rpc/bulkhead.ts'
import { NO_METADATA } from '../rpc/metadata.ts'
import type { Interceptor, RpcRequest, RpcResponse, Send } from '../rpc/send.ts'
import type { LeasedInstance } from '../stores/lease_store.ts'
import { invalid } from '../wire/errors.ts'
import { type BalancerName, BALANCERS, DEFAULT_BALANCER, isBalancer, KEYED_BALANCER } from './balancers.ts'
import { Breaker } from './breaker.ts'
import { LatencyQuantile } from './latency_quantile.ts'
import { LoadBook, type OutstandingCall } from './load.ts'
import { Outliers } from './outliers.ts'
import type { Picker } from './picker.ts'
import type { MethodPolicy, RoutingPolicy } from './policy.ts'
import { RetryBudget } from './retry_budget.ts'
import { Subsets } from './subset.ts'
import { withoutSuspects } from './suspects.ts'
import type { Verdict } from './verdict.ts'

type Instances = readonly LeasedInstance[]

export interface RoutedServiceDeps {
  clock: Clock
  random: Random
  metrics: Metrics
  policy?(service: string): RoutingPolicy | undefined
  /** Names this caller among all, so that each balances over another subset. Random by default. */
  caller?: string
}

/** What is learnt of a service by calling it, and how its calls are to be routed. */
export class RoutedService {
  readonly name: string
  readonly book: LoadBook
  readonly budget: RetryBudget
  readonly breaker: Breaker | undefined
  readonly outliers: Outliers | undefined
  readonly #ejectsUnansweredAlone: boolean
  readonly #deps: RoutedServiceDeps
  readonly #policy: RoutingPolicy
  readonly #subsets: Subsets | undefined
  readonly #pickers = new Map<BalancerName, Picker>()
  readonly #picker: Picker
  readonly #methods = new Map<string, MethodPolicy>()
  readonly #bulkheads = new Map<string, Interceptor>()
  readonly #latencies = new Map<string, LatencyQuantile>()
  #table: Instances = []

  constructor(name: string, deps: RoutedServiceDeps) {
    const { clock, random, metrics } = deps
    const policy = deps.policy?.(name) ?? {}
    this.name = name
    this.#deps = deps
    this.#policy = policy
    this.book = new LoadBook(clock)
    this.budget = new RetryBudget(clock)
    const { outliers = true } = policy
    const { baseMs, only } = typeof outliers === 'object' ? outliers : {}
    this.outliers = outliers === false ? undefined : new Outliers(baseMs)
    this.#ejectsUnansweredAlone = only === 'unanswered'
    this.breaker = policy.breaker === false
      ? undefined
      : new Breaker(random, (to) => metrics.count('shoal_router_breaker_changes_total', { to }))
    this.#subsets = policy.subset === undefined ? undefined : new Subsets(policy.subset, deps.caller ?? newId('caller'))
    this.#picker = this.#pickerOf(policy.balancer ?? DEFAULT_BALANCER)
    for (const [method, own] of Object.entries(policy.methods ?? {})) this.#methods.set(method, { ...policy, ...own })
  }

  /** The instances as they were last seen. */
  get table(): Instances {
    return this.#table
  }

  policyOf(method: string): MethodPolicy {
    return this.#methods.size === 0 ? this.#policy : this.#methods.get(method) ?? this.#policy
  }

  /** Takes note of the table, so that no more is remembered than it has instances. */
  saw(table: Instances): void {
    if (this.#table === table) return
    this.#table = table
    const ids = new Set(table.map(({ id }) => id))
    this.book.keepOnly(ids)
    this.outliers?.keepOnly(ids)
  }

  /** Those of equals that this caller balances over. */
  subsetOf(equals: Instances, hashKey: string | undefined): Instances {
    // Calls of one key meet at one instance only if all callers choose among the same.
    return this.#subsets && hashKey === undefined ? this.#subsets.of(equals) : equals
  }

  /** Those of equals that are neither ejected nor suspect: at least half of them, whatever has befallen the rest. */
  soundOf(equals: Instances, clock: Clock): Instances {
    const left = this.outliers && !this.outliers.isQuiet ? this.outliers.without(equals, clock.now()) : equals
    return withoutSuspects(left, equals.length)
  }

  /** The balancer for a call: the one that it names, that of keys if it has one, or the service's. */
  pickerFor({ metadata }: RpcRequest): Picker {
    if (metadata === NO_METADATA) return this.#picker
    const name = metadata['shoal-balancer']
    if (name === undefined) {
      return metadata['shoal-hash-key'] === undefined ? this.#picker : this.#pickerOf(KEYED_BALANCER)
    }
    if (isBalancer(name)) return this.#pickerOf(name)
    throw invalid(
      `Cannot call ${this.name}: shoal-balancer must be one of ${Object.keys(BALANCERS).join(', ')}, got "${name}"`,
    )
  }

  /** Makes a call once it has a place. Beyond as many methods as any service has, those that callers make up share places. */
  inBulkhead(request: RpcRequest, size: MethodLimit, go: Send): Promise<RpcResponse> {
    const isKnown = this.#bulkheads.has(request.method) || this.#bulkheads.size < LIMITS.maxRoutedMethods
    const method = isKnown ? request.method : 'any other method'
    let places = this.#bulkheads.get(method)
    if (!places) this.#bulkheads.set(method, places = bulkhead({ [method]: size }, this.#deps.clock))
    return places(go)({ ...request, method })
  }

  /** How long calls of a method take: most of them less than this. */
  latencyOf(method: string): LatencyQuantile {
    let known = this.#latencies.get(method)
    if (known) return known
    known = new LatencyQuantile(DEFAULTS.hedgeShare)
    // Names that nobody serves are not worth remembering: what is forgotten is learnt again.
    if (this.#latencies.size >= LIMITS.maxRoutedMethods) this.#latencies.clear()
    this.#latencies.set(method, known)
    return known
  }

  /** Takes note of how an attempt ended, and whether for a connection that failed. @returns how long it took, ms */
  ended(call: OutstandingCall, id: string, equals: Instances, verdict: Verdict, unanswered = false): number {
    const { book } = this
    const outliers = verdict === 'failed' && this.#ejectsUnansweredAlone && !unanswered ? undefined : this.outliers
    if (verdict === 'answered') outliers?.succeeded(id)
    if (verdict !== 'failed') return book.end(call, verdict)
    const done = outliers?.failed(id, equals, this.#deps.clock.now()) ?? 'spared'
    if (done === 'ejected') this.#deps.metrics.count('shoal_router_ejections_total')
    // Who cannot be left out gets fewer calls at least.
    return book.end(call, done === 'spared' ? 'refused' : 'failed')
  }

  #pickerOf(name: BalancerName): Picker {
    let picker = this.#pickers.get(name)
    if (!picker) this.#pickers.set(name, picker = BALANCERS[name]({ book: this.book, random: this.#deps.random }))
    return picker
  }
}

/** The services that are called, as long as there are instances of them. */
export class RoutedServices {
  readonly #deps: RoutedServiceDeps
  readonly #byName = new Map<string, RoutedService>()

  constructor(deps: RoutedServiceDeps) {
    this.#deps = deps
    const { metrics, clock } = deps
    const sum = (count: (service: RoutedService) => number) => () => {
      let total = 0
      for (const service of this.#byName.values()) total += count(service)
      return total
    }
    metrics.gauge('shoal_router_ejected_instances', sum(({ outliers }) => outliers?.ejected(clock.now()) ?? 0))
    metrics.gauge('shoal_router_open_breakers', sum(({ breaker }) => breaker && breaker.state !== 'closed' ? 1 : 0))
  }

  /** Kept until `saw` or `lost` says that there is no such service. */
  of(name: string): RoutedService {
    let service = this.#byName.get(name)
    if (!service) this.#byName.set(name, service = new RoutedService(name, this.#deps))
    return service
  }

  saw(service: RoutedService, table: Instances): void {
    service.saw(table)
    if (table.length === 0) this.forget(service)
  }

  /** Callers choose names freely: those of no service are not remembered. */
  forget(service: RoutedService): void {
    if (this.#byName.get(service.name) === service) this.#byName.delete(service.name)
  }
}
