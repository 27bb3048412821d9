import type { Fence } from '../contracts/training.ts'
import type { Block } from './reduce_tree.ts'

/** How a member did lately. */
export interface Health {
  /** Left alone until then, after a failure. */
  readonly restUntilMs: number
  /** Failures and leases that ran out, since its last valid result. */
  readonly failures: number
}

/** Who computes units: a worker, or a relay with workers behind it. */
export interface Member extends Health {
  /** Units it may hold at once. */
  readonly slots: number
  readonly busy: number
}

export interface Joining {
  readonly member: string
  readonly slots: number
  /** What an earlier round left of it. */
  readonly health?: Health
}

export interface Lease {
  readonly unit: number
  readonly member: string
  /** Past it the unit is leased again; this lease's result is still welcome if it comes first. */
  readonly deadlineMs: number
  /** Its member no longer works on it: it answered, failed or left. */
  readonly over: boolean
  /** True once the unit was leased again because of the deadline. */
  readonly overdue: boolean
}

/** One step's gradients on their way to one sum: units, each a block that is leased at once. */
export interface Round {
  readonly phase: 'collecting' | 'complete' | 'failed'
  readonly fence: Fence
  readonly rules: RoundRules
  readonly units: readonly Block[]
  readonly members: ReadonlyMap<string, Member>
  /** Units that nobody works on, in order. */
  readonly waiting: readonly number[]
  /** Every lease of this round by its attempt, those that are over included. */
  readonly leases: ReadonlyMap<number, Lease>
  /** Units whose sum was accepted; all of them when the phase is 'complete'. */
  readonly filled: ReadonlySet<number>
  /** Members whose result for a unit was invalid, by unit. */
  readonly invalid: ReadonlyMap<number, readonly string[]>
  /** Why it failed. */
  readonly reason: string
}

export interface RoundRules {
  /** Values in each sum. */
  readonly length: number
  readonly leaseMs: number
  /** Rest after a failure: base · 2^n, at most the cap; after a lease that ran out: lease · 2^n, at most the cap. */
  readonly restBaseMs: number
  readonly restCapMs: number
  readonly overdueRestCapMs: number
  /** Invalid results of one unit after which the fault is taken to be the model's, not the workers'. */
  readonly maxInvalid: number
  /** Results of one lease's work that failed for good (not for a lost worker) before the round gives up. */
  readonly maxFailures: number
}

export type RoundEvent =
  & { readonly nowMs: number }
  & (
    /** All who come at once: units are spread over them. */
    | { readonly type: 'joined'; readonly members: readonly Joining[] }
    | { readonly type: 'left'; readonly member: string }
    | {
      readonly type: 'result'
      readonly member: string
      readonly fence: Fence
      readonly attempt: number
      readonly sum: Float32Array
    }
    /** @property fatal true if another member would fail as well */
    | {
      readonly type: 'failed'
      readonly member: string
      readonly attempt: number
      readonly fatal: boolean
      readonly reason: string
    }
    | { readonly type: 'tick' }
  )

export type Refusal = 'stale' | 'late' | 'duplicate' | 'foreign' | 'shape' | 'not_finite'

export type Effect =
  | { readonly type: 'lease'; readonly member: string; readonly unit: Block; readonly attempt: number }
  /** The unit's sum, which enters the tree; there is one for each unit. */
  | { readonly type: 'accept'; readonly unit: Block; readonly sum: Float32Array }
  /** Another member's result was used: this one need not go on. */
  | { readonly type: 'cancel'; readonly member: string; readonly attempt: number }
  | { readonly type: 'refuse'; readonly member: string; readonly reason: Refusal }

export function openRound(fence: Fence, units: readonly Block[], rules: RoundRules): Round {
  return {
    phase: 'collecting',
    fence,
    rules,
    units,
    members: new Map(),
    waiting: units.map((_, i) => i),
    leases: new Map(),
    filled: new Set(),
    invalid: new Map(),
    reason: '',
  }
}

/**
 * The whole of a round: who is leased what, and which result counts. Joins, losses, results in any order and number, and
 * the passing of time all come through here; nothing else decides.
 */
export function advance(round: Round, event: RoundEvent): [Round, Effect[]] {
  const draft = new Draft(round, event.nowMs)
  switch (event.type) {
    case 'joined':
      for (const { member, slots, health } of event.members) {
        draft.members.set(member, { restUntilMs: 0, failures: 0, ...health, slots, busy: 0 })
      }
      break
    case 'left':
      draft.leave(event.member)
      break
    case 'result':
      draft.result(event)
      break
    case 'failed':
      draft.fail(event)
      break
    case 'tick':
      draft.expire()
  }
  draft.lease()
  return draft.done()
}

/** When a tick is due: the next deadline or the end of the next rest. */
export function nextTickMs(round: Round): number | undefined {
  if (round.phase !== 'collecting') return undefined
  let next: number | undefined
  const sooner = (atMs: number) => next = next === undefined ? atMs : Math.min(next, atMs)
  for (const { over, overdue, deadlineMs } of round.leases.values()) if (!over && !overdue) sooner(deadlineMs)
  if (round.waiting.length > 0) {
    for (const { restUntilMs } of round.members.values()) if (restUntilMs > 0) sooner(restUntilMs)
  }
  return next
}

/** A round being changed: copies of what may change, and the effects so far. */
class Draft {
  readonly members: Map<string, Member>
  readonly #round: Round
  readonly #nowMs: number
  readonly #leases: Map<number, Lease>
  readonly #filled: Set<number>
  readonly #invalid: Map<number, readonly string[]>
  readonly #effects: Effect[] = []
  #waiting: number[]
  #phase: Round['phase']
  #reason: string

  constructor(round: Round, nowMs: number) {
    this.#round = round
    this.#nowMs = nowMs
    this.members = new Map(round.members)
    this.#leases = new Map(round.leases)
    this.#filled = new Set(round.filled)
    this.#invalid = new Map(round.invalid)
    this.#waiting = [...round.waiting]
    this.#phase = round.phase
    this.#reason = round.reason
  }

  done(): [Round, Effect[]] {
    const round: Round = {
      ...this.#round,
      phase: this.#phase,
      reason: this.#reason,
      members: this.members,
      leases: this.#leases,
      filled: this.#filled,
      invalid: this.#invalid,
      waiting: this.#waiting,
    }
    return [round, this.#effects]
  }

  leave(member: string): void {
    this.members.delete(member)
    for (const [attempt, lease] of this.#leases) {
      if (lease.member === member && !lease.over) this.#end(attempt, lease)
    }
  }

  result(event: Extract<RoundEvent, { type: 'result' }>): void {
    const { member, attempt, sum } = event
    const refuse = (reason: Refusal) => void this.#effects.push({ type: 'refuse', member, reason })
    if (!sameFence(event.fence, this.#round.fence)) return refuse('stale')
    const lease = this.#leases.get(attempt)
    if (lease?.member !== member) return refuse('foreign')
    const { unit } = lease
    if (this.#phase !== 'collecting') return refuse('late')
    // Before anything is judged by it: a second copy of an answer must not free its member twice.
    if (this.#filled.has(unit)) {
      refuse(lease.over ? 'duplicate' : 'late')
      if (!lease.over) this.#end(attempt, lease)
      return
    }
    const problem = sum.length !== this.#round.rules.length ? 'shape' : isFinite(sum) ? undefined : 'not_finite'
    if (problem) {
      refuse(problem)
      if (lease.over) return
      return this.#onInvalid(attempt, lease, problem)
    }
    const shards = this.#round.units[unit]
    if (!shards) return refuse('foreign')
    this.#filled.add(unit)
    this.#effects.push({ type: 'accept', unit: shards, sum })
    this.#rested(member)
    if (!lease.over) this.#end(attempt, lease)
    this.#waiting = this.#waiting.filter((waiting) => waiting !== unit)
    for (const [other, { unit: same, over, member: holder }] of this.#leases) {
      if (same === unit && !over) this.#effects.push({ type: 'cancel', member: holder, attempt: other })
    }
    if (this.#filled.size === this.#round.units.length) this.#phase = 'complete'
  }

  fail({ member, attempt, fatal, reason }: Extract<RoundEvent, { type: 'failed' }>): void {
    const lease = this.#leases.get(attempt)
    if (lease?.member !== member || lease.over) return
    this.#end(attempt, lease)
    const known = this.members.get(member)
    // A unit that someone else computed meanwhile is no failure of the one who was told to stop.
    if (!known || this.#filled.has(lease.unit)) return
    const { restBaseMs, restCapMs, maxFailures } = this.#round.rules
    this.#rest(member, restBaseMs, restCapMs)
    if (fatal && known.failures + 1 >= maxFailures) this.#fail(reason)
  }

  /**
   * Units whose lease ran out are leased again; the old lease may still be the first to answer. Its member stands still or
   * is slow, and would hold up the next units as well: it is left alone for a while.
   */
  expire(): void {
    for (const [attempt, lease] of this.#leases) {
      if (lease.over || lease.overdue || lease.deadlineMs > this.#nowMs) continue
      this.#leases.set(attempt, { ...lease, overdue: true })
      const { leaseMs, overdueRestCapMs } = this.#round.rules
      this.#rest(lease.member, leaseMs, overdueRestCapMs)
      if (!this.#filled.has(lease.unit)) this.#requeue(lease.unit)
    }
  }

  /** Gives waiting units to free members: those with the fewest units in hand first, in the order they joined. */
  lease(): void {
    if (this.#phase !== 'collecting') return
    for (const unit of [...this.#waiting]) {
      const member = this.#choose(unit)
      if (member === undefined) continue
      this.#waiting = this.#waiting.filter((waiting) => waiting !== unit)
      this.#give(unit, member)
    }
    if (this.#waiting.length === 0) this.#takeOver()
  }

  /** Who has nothing to do takes what waits behind another unit of a busier member: no unit waits while somebody is idle. */
  #takeOver(): void {
    for (const [id, { busy, restUntilMs }] of this.members) {
      if (busy > 0 || restUntilMs > this.#nowMs) continue
      const behind = this.#behind(id)
      if (!behind) return
      const [attempt, lease] = behind
      this.#leases.set(attempt, { ...lease, over: true })
      this.#hold(lease.member, -1)
      this.#effects.push({ type: 'cancel', member: lease.member, attempt })
      this.#give(lease.unit, id)
    }
  }

  /** The longest-held lease that its member cannot have begun, and that `id` may have. */
  #behind(id: string): [number, Lease] | undefined {
    const begun = new Set<string>()
    for (const [attempt, lease] of this.#leases) {
      if (lease.over) continue
      const mayTake = !this.#filled.has(lease.unit) && !this.#invalid.get(lease.unit)?.includes(id)
      if (begun.has(lease.member) && mayTake) return [attempt, lease]
      begun.add(lease.member)
    }
    return undefined
  }

  #give(unit: number, member: string): void {
    const attempt = this.#leases.size
    const deadlineMs = this.#nowMs + this.#round.rules.leaseMs
    this.#leases.set(attempt, { unit, member, deadlineMs, over: false, overdue: false })
    this.#hold(member, 1)
    const shards = this.#round.units[unit]
    if (shards) this.#effects.push({ type: 'lease', member, unit: shards, attempt })
  }

  #choose(unit: number): string | undefined {
    const spoilt = this.#invalid.get(unit) ?? []
    const holders = [...this.#leases.values()].filter((lease) => lease.unit === unit && !lease.over)
    let best: { id: string; member: Member } | undefined
    for (const [id, member] of this.members) {
      if (member.busy >= member.slots || member.restUntilMs > this.#nowMs) continue
      if (holders.some((lease) => lease.member === id)) continue
      // One whose result was refused gets this unit again only if there is nobody else at all.
      if (spoilt.includes(id) && this.members.size > new Set(spoilt).size) continue
      if (!best || member.busy < best.member.busy) best = { id, member }
    }
    return best?.id
  }

  #onInvalid(attempt: number, lease: Lease, problem: Refusal): void {
    const spoilt = [...this.#invalid.get(lease.unit) ?? [], lease.member]
    this.#invalid.set(lease.unit, spoilt)
    this.#end(attempt, lease)
    if (spoilt.length < this.#round.rules.maxInvalid) return
    const unit = this.#round.units[lease.unit]
    this.#fail(
      problem === 'not_finite'
        ? `the gradient of shards ${unit?.from} to ${unit?.to} is not finite on ${spoilt.length} attempts (lower the learning rate, or clip)`
        : `the gradient of shards ${unit?.from} to ${unit?.to} has a wrong shape on ${spoilt.length} attempts`,
    )
  }

  #fail(reason: string): void {
    this.#phase = 'failed'
    this.#reason = reason
    for (const [attempt, { over, member }] of this.#leases) {
      if (!over) this.#effects.push({ type: 'cancel', member, attempt })
    }
  }

  #end(attempt: number, lease: Lease): void {
    this.#leases.set(attempt, { ...lease, over: true })
    this.#hold(lease.member, -1)
    if (!this.#filled.has(lease.unit)) this.#requeue(lease.unit)
  }

  #requeue(unit: number): void {
    const isHeld = [...this.#leases.values()].some((lease) => lease.unit === unit && !lease.over && !lease.overdue)
    if (!isHeld && !this.#waiting.includes(unit)) this.#waiting = [...this.#waiting, unit].sort((a, b) => a - b)
  }

  #hold(id: string, by: number): void {
    const member = this.members.get(id)
    if (member) this.members.set(id, { ...member, busy: member.busy + by })
  }

  #rest(id: string, baseMs: number, capMs: number): void {
    const member = this.members.get(id)
    if (!member) return
    const restUntilMs = this.#nowMs + Math.min(capMs, baseMs * 2 ** member.failures)
    this.members.set(id, { ...member, failures: member.failures + 1, restUntilMs })
  }

  #rested(id: string): void {
    const member = this.members.get(id)
    if (member) this.members.set(id, { ...member, failures: 0, restUntilMs: 0 })
  }
}

function sameFence(a: Fence, b: Fence): boolean {
  return a.run === b.run && a.epoch === b.epoch && a.step === b.step && a.parameters === b.parameters
}

/** One pass without branches: a sum is finite only if all its terms are, or some cancel to NaN. */
function isFinite(values: Float32Array): boolean {
  let probe = 0
  for (let i = 0; i < values.length; i++) probe += (values[i] ?? 0) * 0
  return probe === 0
}
