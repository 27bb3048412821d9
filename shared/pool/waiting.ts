import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { jitter, type Random } from '../base/random.ts'
import { RpcError } from '../wire/errors.ts'
import type { ModelRef } from '../contracts/pool.ts'
import { CallQueue } from './call_queue.ts'
import type { Backlog } from './choice.ts'
import { DrainMeter } from './drain_meter.ts'
import { FairShare } from './fair_share.ts'
import { before, type PoolCall } from './pool_call.ts'

/** The part of a call's time that it may spend waiting: the rest is for the run, and for what the estimate is off. */
const MAX_WAIT_SHARE = 0.5

/** Why a call was not queued. */
export type Overflow = 'count' | 'bytes' | 'deadline'

export interface WaitingDeps {
  clock: Pick<Clock, 'now'>
  random: Random
  onOverflow(reason: Overflow): void
}

/** The calls that wait, one queue for each model that has any, and how fast they go. */
export class Waiting {
  readonly #deps: WaitingDeps
  readonly #queues = new Map<string, CallQueue>()
  readonly #drain: DrainMeter
  readonly #shares = new FairShare()
  #bytes = 0
  /** When the first of the calls is due that `peek` passed over, since they wait for others to share their run. */
  dueMs = Infinity

  constructor(deps: WaitingDeps) {
    this.#deps = deps
    this.#drain = new DrainMeter(deps.clock)
  }

  get calls(): number {
    let total = 0
    for (const queue of this.#queues.values()) total += queue.length
    return total
  }

  /** Models with calls waiting. */
  get models(): number {
    return this.#queues.size
  }

  /** How many calls wait, by model. One that is both public and private by name has two queues here. */
  depths(): { model: string; calls: number }[] {
    return [...this.#queues.values()].flatMap((queue) => {
      const head = queue.peek()
      return head ? [{ model: head.model.sha256, calls: queue.length }] : []
    })
  }

  /**
   * Queues a call, unless it would exceed a bound or wait for most of its time. Where nothing waits, it always can. Where
   * there is no room because of another caller who has more waiting, the last call of that one has to go instead.
   * @param idle workers that have nothing to do: calls that came together go onto them together
   * @returns why not: `resource_exhausted`, with the time that the backlog takes to drain
   */
  push(call: PoolCall, timeoutMs: number, idle: number): RpcError | undefined {
    if (this.#queues.size > 0) {
      const refused = this.#refuse(call, timeoutMs, idle)
      if (refused) return refused
      this.#shares.enter(call)
    } else this.#shares.enterAlone(call)
    this.#queueOf(call).push(call)
    this.#bytes += call.bytes
    return undefined
  }

  /** Puts calls of one model back where they stood. */
  putBack(calls: readonly PoolCall[]): void {
    const [first] = calls
    if (!first) return
    const queue = this.#queueOf(first)
    for (const call of calls) {
      call.run = undefined
      this.#bytes += call.bytes
      this.#shares.enterAgain(call)
      queue.push(call)
    }
  }

  /** Takes out a call whose caller has gone. */
  remove(call: PoolCall): void {
    if (this.#queues.get(keyOf(call.model))?.remove(call)) this.#left([call])
    this.settle()
  }

  /**
   * The call that goes next: of high priority if there is one, and of those the longest waiting.
   * @param isWanted only calls of such models
   */
  peek(isWanted?: (model: ModelRef) => boolean): PoolCall | undefined {
    let oldest: PoolCall | undefined
    this.dueMs = Infinity
    for (const queue of this.#queues.values()) {
      const head = queue.peek()
      if (head?.model.maxQueueDelayUs !== undefined && this.#gathers(queue, head, head.model.maxQueueDelayUs)) continue
      if (head && (!oldest || before(head, oldest)) && (!isWanted || isWanted(head.model))) oldest = head
    }
    return oldest
  }

  /** Whether calls of this model still wait for others to share their run: a run is not full, and its first call is young. */
  #gathers(queue: CallQueue, head: PoolCall, delayUs: number): boolean {
    if (head.batchKey === undefined || queue.rows >= LIMITS.maxBatch) return false
    const dueMs = head.submittedAtMs + delayUs / 1000
    if (this.#deps.clock.now() >= dueMs) return false
    this.dueMs = Math.min(this.dueMs, dueMs)
    return true
  }

  /** Takes the next call of a model, with those that share its run. */
  take(model: ModelRef): PoolCall[] {
    const calls = this.#queues.get(keyOf(model))?.take() ?? []
    this.#left(calls, true)
    this.#drain.started()
    return calls
  }

  /** Takes all calls of such models. */
  takeIf(isWanted: (model: ModelRef) => boolean): PoolCall[] {
    const taken: PoolCall[] = []
    for (const queue of [...this.#queues.values()]) {
      const head = queue.peek()
      if (!head || !isWanted(head.model)) continue
      const calls = queue.takeAll()
      this.#left(calls)
      taken.push(...calls)
    }
    this.settle()
    return taken
  }

  /** What waits, from the point of view of the call that goes next. */
  backlogOf({ model, rows }: PoolCall): Backlog {
    let runs = 0
    for (const queue of this.#queues.values()) runs += queue.runs
    const queued = model.batchable ? this.#queues.get(keyOf(model))?.rows ?? 0 : 0
    return { rows: Math.max(rows, Math.min(LIMITS.maxBatch, queued)), runs: Math.max(1, runs) }
  }

  /** Says that what could be sent has been sent: what is left is a backlog. */
  settle(): void {
    this.#drain.backlog = this.#queues.size > 0
  }

  #queueOf({ model }: PoolCall): CallQueue {
    const key = keyOf(model)
    let queue = this.#queues.get(key)
    if (!queue) this.#queues.set(key, queue = new CallQueue())
    return queue
  }

  /** Notes that calls of one model have left their queue. */
  #left(calls: readonly PoolCall[], served = false): void {
    for (const call of calls) {
      this.#bytes -= call.bytes
      this.#shares.leave(call, served)
    }
    const [first] = calls
    const key = first && keyOf(first.model)
    if (key !== undefined && this.#queues.get(key)?.length === 0) this.#queues.delete(key)
    if (this.#queues.size === 0) this.#shares.reset()
  }

  #refuse(call: PoolCall, timeoutMs: number, idle: number): RpcError | undefined {
    const queue = this.#queues.get(keyOf(call.model))
    const waitMs = this.#waitMs(call, idle)
    for (;;) {
      const overflow = this.#overflowOf(call, queue)
      if (!overflow) break
      const [reason, why] = overflow
      const last = this.#shares.sharedBy(call.caller) ? queue?.lastOfCrowd(call.caller) : undefined
      if (!queue || !last) return this.#overflow(reason, why, waitMs)
      queue.remove(last)
      this.#left([last])
      last.reject(this.#overflow(reason, why, waitMs))
    }
    if (waitMs === undefined || waitMs <= timeoutMs * MAX_WAIT_SHARE) return undefined
    return this.#overflow('deadline', `it would wait about ${Math.round(waitMs)} of its ${timeoutMs} ms`, waitMs)
  }

  /** The bound that a call would exceed, and in words what is there already. */
  #overflowOf(call: PoolCall, queue: CallQueue | undefined): [Overflow, string] | undefined {
    const { length = 0, bytes = 0 } = queue ?? {}
    if (length >= LIMITS.maxQueuedCalls) return ['count', `${length} calls wait for this model already`]
    if (bytes + call.bytes <= LIMITS.maxQueuedBytes && this.#bytes + call.bytes <= LIMITS.maxPoolBytes) return undefined
    return ['bytes', `calls of ${bytes} bytes wait for this model and of ${this.#bytes} bytes for all`]
  }

  #overflow(reason: Overflow, why: string, waitMs: number = DEFAULTS.retryAfterMs): RpcError {
    this.#deps.onOverflow(reason)
    const spreadMs = Math.round(jitter(waitMs, DEFAULTS.beatJitter, this.#deps.random))
    const retryAfterMs = Math.min(DEFAULTS.retryAfterCapMs, Math.max(1, spreadMs))
    return new RpcError('resource_exhausted', `Cannot queue the call: ${why}`, { retryAfterMs, neverSent: true })
  }

  /** How long a new call would wait: workers take the oldest call of any model, so all queues count. */
  #waitMs(call: PoolCall, idle: number): number | undefined {
    let runs = 0
    const turn = this.#shares.turnOf(call.caller)
    for (const queue of this.#queues.values()) runs += queue.runsAhead(call.priority, turn)
    return this.#drain.estimateMs(Math.max(0, runs - idle))
  }
}

/** The same bytes may be public under one name and private under another: their calls must never share a run. */
function keyOf({ sha256, public: isPublic }: ModelRef): string {
  return isPublic ? `public ${sha256}` : sha256
}
