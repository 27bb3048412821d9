import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { Log } from '../base/log.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Random } from '../base/random.ts'
import { type Fence, Training, type WireFormat } from '../contracts/training.ts'
import { clientOver } from '../rpc/client.ts'
import { abortError } from '../rpc/deadline.ts'
import type { Callee, Directory } from '../rpc/directory.ts'
import type { Codec } from '../wire/payload.ts'
import { RpcError } from '../wire/errors.ts'
import { Tensor } from '../wire/tensor.ts'
import { chooseAudited, type Doubts, TOLERANCES, TypicalNorm } from './agreement.ts'
import { LeaseTimer } from './lease_timer.ts'
import { type Block, ReduceTree } from './reduce_tree.ts'
import {
  advance,
  type Effect,
  type Health,
  type Joining,
  nextTickMs,
  openRound,
  type Round,
  type RoundEvent,
} from './round.ts'
import { bytesOf, unpackSum } from './wire_format.ts'

export interface RoundDriverDeps {
  clock: Clock
  metrics: Metrics
  log: Log
  directory: Directory
  /** How messages travel to the members. */
  codec: Codec
  /** Units that a member may hold at once: with two, the second is on its way while the first is computed. */
  slots: number
  /** Whether members are believed who say that another coordinator leads: relays are, workers could end a run with it. */
  trustsMembers: boolean
  /** Where a unit takes longer the further away it is computed, leases are longer: 1 for workers, more for relays. */
  patience: number
  /** Draws whose results another member computes again. Without it none are: members are trusted with their sums. */
  random?: Random
}

export interface RoundJob {
  fence: Fence
  /** SHA-256 of the plan. */
  plan: string
  /** The plan's step that the shards are of. */
  dataStep: number
  format: WireFormat
  /** float32; sent to a member once per step. */
  values: Tensor
  /** Values in each sum. */
  length: number
  /** What to sum, and the units in which to lease it. */
  whole: Block
  units: readonly Block[]
}

export interface RoundOutcome {
  /** The caller's own. */
  sum: Float32Array
  /** Workers that took part. */
  workers: number
  /** Bytes of tensors sent to members and received from them. */
  sentBytes: number
  receivedBytes: number
}

/** Drives rounds over the members of a directory: leases become calls, answers and losses become events. */
export class RoundDriver {
  readonly #deps: RoundDriverDeps
  readonly #leases: LeaseTimer
  readonly #known = new Map<string, Known>()
  /** By plan: what is usual is another thing in training and in evaluation. */
  readonly #norms = new Map<string, TypicalNorm>()

  constructor(deps: RoundDriverDeps) {
    this.#deps = deps
    this.#leases = new LeaseTimer(deps.patience)
  }

  /**
   * Computes one sum. Waits for members as long as the signal allows.
   * @throws RpcError `failed_precondition` if the round fails for good, or the signal's reason
   */
  async run(job: RoundJob, signal: AbortSignal): Promise<RoundOutcome> {
    if (signal.aborted) throw abortError(signal.reason)
    const norms = this.#norms.get(job.plan) ?? new TypicalNorm()
    this.#norms.delete(job.plan)
    this.#norms.set(job.plan, norms)
    for (const oldest of this.#norms.keys()) if (this.#norms.size > MAX_PLANS) this.#norms.delete(oldest)
    return await new RunningRound(this.#deps, this.#leases, this.#known, norms, job).finish(signal)
  }
}

/** Plans whose results are remembered: a run has two. */
const MAX_PLANS = 16

/** What is known of a member from round to round. */
interface Known {
  /** Results that another member's agreed with. */
  agreements?: number
  /** It gave something else than two others: it is asked no more. */
  isDistrusted?: boolean
  /** Hash of the parameters it was sent last. */
  holds?: string
  health?: Health
}

class RunningRound {
  readonly #deps: RoundDriverDeps
  readonly #timer: LeaseTimer
  readonly #known: Map<string, Known>
  readonly #norms: TypicalNorm
  readonly #job: RoundJob
  readonly #tree: ReduceTree
  readonly #ended = Promise.withResolvers<void>()
  readonly #calls = new Map<number, AbortController>()
  /** The shards of each attempt. */
  readonly #leased = new Map<number, Block>()
  readonly #members = new Map<string, Callee>()
  readonly #contributors = new Map<string, number>()
  #round: Round
  #cancelTick = () => {}
  #sentBytes = 0
  #receivedBytes = 0

  constructor(
    deps: RoundDriverDeps,
    timer: LeaseTimer,
    known: Map<string, Known>,
    norms: TypicalNorm,
    job: RoundJob,
  ) {
    this.#deps = deps
    this.#timer = timer
    this.#known = known
    this.#norms = norms
    this.#job = job
    this.#tree = new ReduceTree(job.whole, job.length)
    this.#round = openRound(job.fence, job.units, {
      length: job.length,
      leaseMs: timer.leaseMs,
      restBaseMs: DEFAULTS.workerRestBaseMs,
      restCapMs: DEFAULTS.workerRestCapMs,
      overdueRestCapMs: DEFAULTS.trainingOverdueRestCapMs,
      minSpoilt: DEFAULTS.trainingMinSpoilt,
      maxSpoilt: DEFAULTS.trainingMaxSpoilt,
      doubts: this.#doubts(),
    })
  }

  #doubts(): Doubts {
    const { random, directory } = this.#deps
    const tolerance = TOLERANCES[this.#job.format]
    if (!random) return { typicalNorm: 0, tolerance }
    const members = directory.list().filter(({ id }) => !this.#known.get(id)?.isDistrusted)
    const records = members.map(({ id }) => ({ id, agreements: this.#known.get(id)?.agreements ?? 0 }))
    return { audited: chooseAudited(records, random), typicalNorm: this.#norms.value, tolerance }
  }

  async finish(signal: AbortSignal): Promise<RoundOutcome> {
    const onAbort = () => this.#ended.reject(abortError(signal.reason))
    signal.addEventListener('abort', onAbort, { once: true })
    const stopListening = this.#deps.directory.onChange(() => this.#refresh())
    try {
      this.#refresh()
      await this.#ended.promise
    } finally {
      stopListening()
      signal.removeEventListener('abort', onAbort)
      this.#cancelTick()
      this.#remember()
      for (const call of this.#calls.values()) call.abort(over())
    }
    const { sum } = this.#tree
    if (this.#round.phase === 'failed' || !sum) {
      throw new RpcError('failed_precondition', `Cannot finish step ${this.#job.fence.step}: ${this.#round.reason}`)
    }
    let workers = 0
    for (const count of this.#contributors.values()) workers += count
    return { sum, workers, sentBytes: this.#sentBytes, receivedBytes: this.#receivedBytes }
  }

  /** A member that let a lease run out is not trusted with the next round's at once. */
  #remember(): void {
    for (const [id, { failures, restUntilMs }] of this.#round.members) {
      this.#know(id, { health: { failures, restUntilMs } })
    }
    const present = new Set(this.#deps.directory.list().map(({ id }) => id))
    for (const id of this.#known.keys()) if (!present.has(id)) this.#known.delete(id)
  }

  #know(id: string, more: Known): void {
    this.#known.set(id, { ...this.#known.get(id), ...more })
  }

  /** Tells the round who has come and who has gone. */
  #refresh(): void {
    const { directory, clock, random } = this.#deps
    const nowMs = clock.now()
    const present = new Map(directory.list().map((callee) => [callee.id, callee]))
    for (const id of [...this.#members.keys()]) {
      if (present.has(id)) continue
      this.#members.delete(id)
      this.#known.delete(id)
      this.#apply({ type: 'left', member: id, nowMs })
    }
    const members: Joining[] = []
    for (const [id, callee] of present) {
      if (this.#members.has(id) || this.#known.get(id)?.isDistrusted) continue
      this.#members.set(id, callee)
      const { health, agreements } = this.#known.get(id) ?? {}
      members.push({ member: id, slots: this.#deps.slots, health, isNewcomer: random && !agreements })
    }
    if (members.length > 0) this.#apply({ type: 'joined', members, nowMs })
  }

  #apply(event: RoundEvent): void {
    const [round, effects] = advance(this.#round, event)
    this.#round = round
    for (const effect of effects) this.#perform(effect)
    if (round.phase !== 'collecting') return this.#ended.resolve()
    this.#cancelTick()
    const atMs = nextTickMs(round)
    if (atMs === undefined) return
    const { clock } = this.#deps
    const tick = () => this.#apply({ type: 'tick', nowMs: clock.now() })
    this.#cancelTick = clock.after(Math.max(0, atMs - clock.now()), tick)
  }

  #perform(effect: Effect): void {
    const { metrics, log } = this.#deps
    switch (effect.type) {
      case 'lease':
        metrics.count('shoal_training_leases_total')
        this.#leased.set(effect.attempt, effect.unit)
        return void this.#call(effect.member, effect.unit, effect.attempt)
      case 'accept':
        // It came for this round alone: nobody else reads it.
        this.#tree.add({ ...effect.unit, sum: effect.sum }, true)
        this.#norms.add(effect.norm, effect.sum.at(-1) ?? 0)
        return
      case 'agreed':
        for (const id of effect.members) {
          this.#know(id, { agreements: (this.#known.get(id)?.agreements ?? 0) + 1 })
        }
        metrics.count('shoal_training_audits_total')
        return
      case 'distrust':
        metrics.count('shoal_training_distrusted_total')
        log('error', 'member distrusted: two others gave another gradient', { member: effect.member })
        return this.#know(effect.member, { isDistrusted: true })
      case 'cancel':
        return this.#calls.get(effect.attempt)?.abort(over())
      case 'refuse':
        metrics.count('shoal_training_refused_total', { reason: effect.reason })
        log('warn', 'result refused', { step: this.#job.fence.step, member: effect.member, reason: effect.reason })
    }
  }

  async #call(member: string, unit: Block, attempt: number): Promise<void> {
    const callee = this.#members.get(member)
    if (!callee) return
    const { clock, codec, log } = this.#deps
    const call = new AbortController()
    this.#calls.set(attempt, call)
    const startedAtMs = clock.now()
    try {
      const client = clientOver(Training, { transport: { send: callee.send, codec, close() {} }, clock })
      const { fence, plan, dataStep, format, length } = this.#job
      const answer = await this.#withParameters(member, async (values) => {
        const input = { fence, plan, attempt, dataStep, ...unit, format, length, ...(values && { values }) }
        // A member that never answers would hold its place for ever: long past its lease it has failed.
        return await client.reduce(input, { signal: call.signal, timeoutMs: this.#timer.giveUpMs })
      })
      const received = bytesOf(answer.sum)
      this.#receivedBytes += received
      this.#deps.metrics.count('shoal_training_received_bytes_total', undefined, received)
      const sum = unpackSum(format, answer.sum)
      this.#contributors.set(member, answer.workers)
      this.#timer.observe(clock.now() - startedAtMs)
      const { fence: fenced, attempt: of } = answer
      if (this.#isOf(of, answer)) {
        this.#apply({ type: 'result', member, fence: fenced, attempt: of, sum, nowMs: clock.now() })
      } else this.#perform({ type: 'refuse', member, reason: 'foreign' })
      // The call is over, whatever its answer was worth.
      this.#apply({ type: 'failed', member, attempt, fatal: false, reason: 'no valid answer', nowMs: clock.now() })
    } catch (thrown) {
      const error = RpcError.from(thrown)
      // Another coordinator has taken over: whatever the others say, this one is done.
      if (error.code === 'aborted' && this.#deps.trustsMembers) return this.#ended.reject(error)
      if (error.code !== 'canceled') {
        log('warn', 'shards failed', { step: this.#job.fence.step, member, ...unit, reason: error.message })
      }
      this.#apply({
        type: 'failed',
        member,
        attempt,
        fatal: FATAL.has(error.code) && !isMissing(error),
        reason: error.message,
        nowMs: clock.now(),
      })
    } finally {
      this.#calls.delete(attempt)
    }
  }

  /** Whether an answer is of the shards that were leased by that attempt, and not of another round's. */
  #isOf(attempt: number, { dataStep, from, to }: Block & { dataStep: number }): boolean {
    const leased = this.#leased.get(attempt)
    return dataStep === this.#job.dataStep && from === leased?.from && to === leased?.to
  }

  /** Sends the parameters with the first call of a step to each member, and again to one that has lost them. */
  async #withParameters<T>(member: string, call: (values: Tensor | undefined) => Promise<T>): Promise<T> {
    const { fence: { parameters }, values } = this.#job
    if (this.#known.get(member)?.holds === parameters) {
      try {
        return await call(undefined)
      } catch (thrown) {
        // It was restarted, or another run took their place.
        if (!isMissing(RpcError.from(thrown))) throw thrown
      }
    }
    this.#sentBytes += values.bytes.byteLength
    this.#deps.metrics.count('shoal_training_sent_bytes_total', undefined, values.bytes.byteLength)
    this.#know(member, { holds: parameters })
    return await call(values)
  }
}

/** Another member would fail as well: the model, the plan or the data are at fault. */
const FATAL = new Set(['invalid_argument', 'failed_precondition', 'not_found', 'resource_exhausted', 'internal'])

/** What a member answers that has not, or no longer, the parameters of this step. */
export function missingParameters(): RpcError {
  return new RpcError('failed_precondition', 'Cannot compute the shards: the parameters of this step must come first', {
    details: [{ missing: 'parameters' }],
  })
}

function isMissing(error: RpcError): boolean {
  return error.details.some((detail) => (detail as { missing?: unknown } | null)?.missing === 'parameters')
}

function over(): RpcError {
  return new RpcError('canceled', 'Cannot finish the shards: they are no longer needed')
}
