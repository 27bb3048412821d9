import { DEFAULTS } from '../base/defaults.ts'
import { Training } from '../contracts/training.ts'
import { clientOver } from '../rpc/client.ts'
import { abortError } from '../rpc/deadline.ts'
import type { Callee } from '../rpc/directory.ts'
import { RpcError } from '../wire/errors.ts'
import type { Tensor } from '../wire/tensor.ts'
import { chooseAudited, type Doubts, TOLERANCES, type TypicalNorm } from './agreement.ts'
import type { LeaseTimer } from './lease_timer.ts'
import type { MemberRecords } from './member_records.ts'
import { isMissing } from './missing_parameters.ts'
import { type Block, ReduceTree } from './reduce_tree.ts'
import { advance, type Effect, type Joining, nextTickMs, openRound, type Round, type RoundEvent } from './round.ts'
import type { RoundDriverDeps, RoundJob, RoundOutcome } from './round_job.ts'
import { bytesOf, unpackSum } from './wire_format.ts'

/** One round, from the leases of its units to their sum. It runs once. */
export class RunningRound {
  readonly #deps: RoundDriverDeps
  readonly #timer: LeaseTimer
  readonly #records: MemberRecords
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
    records: MemberRecords,
    norms: TypicalNorm,
    job: RoundJob,
  ) {
    this.#deps = deps
    this.#timer = timer
    this.#records = records
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
    const members = directory.list().filter(({ id }) => !this.#records.of(id).isDistrusted)
    const records = members.map(({ id }) => ({ id, agreements: this.#records.of(id).agreements ?? 0 }))
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
      this.#records.note(id, { health: { failures, restUntilMs } })
    }
    this.#records.keepOnly(new Set(this.#deps.directory.list().map(({ id }) => id)))
  }

  /** Tells the round who has come and who has gone. */
  #refresh(): void {
    const { directory, clock, random } = this.#deps
    const nowMs = clock.now()
    const present = new Map(directory.list().map((callee) => [callee.id, callee]))
    for (const id of [...this.#members.keys()]) {
      if (present.has(id)) continue
      this.#members.delete(id)
      this.#records.forget(id)
      this.#apply({ type: 'left', member: id, nowMs })
    }
    const members: Joining[] = []
    for (const [id, callee] of present) {
      if (this.#members.has(id) || this.#records.of(id).isDistrusted) continue
      this.#members.set(id, callee)
      const { health, agreements } = this.#records.of(id)
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
          this.#records.note(id, { agreements: (this.#records.of(id).agreements ?? 0) + 1 })
        }
        metrics.count('shoal_training_audits_total')
        return
      case 'distrust':
        metrics.count('shoal_training_distrusted_total')
        log('error', 'member distrusted: two others gave another gradient', { member: effect.member })
        return this.#records.note(effect.member, { isDistrusted: true })
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
    if (this.#records.of(member).holds === parameters) {
      try {
        return await call(undefined)
      } catch (thrown) {
        // It was restarted, or another run took their place.
        if (!isMissing(RpcError.from(thrown))) throw thrown
      }
    }
    this.#sentBytes += values.bytes.byteLength
    this.#deps.metrics.count('shoal_training_sent_bytes_total', undefined, values.bytes.byteLength)
    this.#records.note(member, { holds: parameters })
    return await call(values)
  }
}

/** Another member would fail as well: the model, the plan or the data are at fault. */
const FATAL = new Set(['invalid_argument', 'failed_precondition', 'not_found', 'resource_exhausted', 'internal'])

function over(): RpcError {
  return new RpcError('canceled', 'Cannot finish the shards: they are no longer needed')
}
