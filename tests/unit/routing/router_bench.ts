import { assert } from 'chai'
import { Metrics } from '../../../shared/base/metrics.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import { createRouter } from '../../../shared/routing/call.ts'
import type { RoutingPolicy } from '../../../shared/routing/policy.ts'
import type { RpcRequest, RpcResponse, Send } from '../../../shared/rpc/send.ts'
import type { LeasedInstance } from '../../../shared/stores/lease_store.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { VirtualTime } from '../virtual_time.ts'

interface Attempt {
  id: string
  atMs: number
  timeoutMs: number
}

/** A router over instances that do what the test says. */
export class RouterBench {
  readonly clock = new VirtualTime(1_000_000)
  readonly metrics = new Metrics()
  readonly attempts: Attempt[] = []
  readonly unreachable: string[] = []
  table: readonly LeasedInstance[]
  /** What an instance does with a call. */
  serve: (id: string, request: RpcRequest) => Promise<RpcResponse> = (id) => Promise.resolve(answer(id))
  reachable: (id: string) => boolean = () => true
  near: (equals: readonly LeasedInstance[]) => readonly LeasedInstance[] = (equals) => equals
  readonly send: Send
  #lists: { table: unknown; byService: Map<string, LeasedInstance[]> } = { table: undefined, byService: new Map() }

  constructor(table: readonly LeasedInstance[], seed = 1, policy?: RoutingPolicy) {
    this.table = table
    this.send = createRouter({
      instances: (service) => Promise.resolve(this.#listed(service)),
      connect: ({ id }) =>
        this.reachable(id)
          ? (request) => {
            this.attempts.push({ id, atMs: this.clock.now(), timeoutMs: request.timeoutMs })
            return this.serve(id, request)
          }
          : undefined,
      near: (equals) => this.near(equals),
      onUnreachable: (service) => this.unreachable.push(service),
      clock: this.clock,
      random: seededRandom(seed),
      metrics: this.metrics,
      policy: () => policy,
    })
  }

  /** The same list again as long as the table is the same. */
  #listed(service: string): readonly LeasedInstance[] {
    if (this.#lists.table !== this.table) {
      const byService = Map.groupBy(this.table, (each) => each.service)
      this.#lists = { table: this.table, byService }
    }
    return this.#lists.byService.get(service) ?? []
  }

  /** Calls demo.Hello and lets up to `withinMs` pass. */
  async call(fields: Partial<RpcRequest> = {}, withinMs = 60_000): Promise<RpcResponse | RpcError> {
    let outcome: RpcResponse | RpcError | undefined
    this.send({ ...request(), ...fields }).then((response) => outcome = response, (error) => outcome = error)
    for (let waited = 0; !outcome && waited <= withinMs; waited += 10) await this.clock.advance(10)
    if (!outcome) throw new Error('The call has not ended')
    return outcome
  }

  get ids(): string[] {
    return this.attempts.map(({ id }) => id)
  }

  close(): void {
    assert.equal(this.clock.pending, 0, 'timers')
  }
}

export function request(): RpcRequest {
  return {
    service: 'demo.Hello',
    method: 'sayHello',
    version: '^1.0.0',
    group: 'default',
    stream: false,
    idempotent: true,
    timeoutMs: 30_000,
    signal: new AbortController().signal,
    traceparent: '',
    metadata: {},
    payload: { codec: 'tensors', structure: null, parts: [] },
  }
}

export function answer(id: string): RpcResponse {
  return { kind: 'unary', metadata: { from: id }, payload: { codec: 'tensors', structure: id, parts: [] } }
}

export const gone = (options: { retryAfterMs?: number; neverSent?: boolean; unanswered?: boolean } = {}) =>
  new RpcError('unavailable', 'Cannot reach it', options)

export function codeOf(outcome: RpcResponse | RpcError): string {
  return outcome instanceof RpcError ? outcome.code : 'ok'
}
