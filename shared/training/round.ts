import type { Fence } from '../contracts/training.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { agree, gradientNorm } from './agreement.ts'
import type { Effect, Lease, Member, Opinion, Refusal, Round, RoundEvent } from './round_state.ts'

export * from './round_state.ts'

/**
 * The whole of a round: who is leased what, and which result counts. Joins, losses, results in any order and number, and
 * the passing of time all come through here; nothing else decides.
 */
export function advance(round: Round, event: RoundEvent): [Round, Effect[]] {
  const draft = new Draft(round, event.nowMs)
  switch (event.type) {
    case 'joined':
      for (const { member, slots, health, isNewcomer = false } of event.members) {
        draft.members.set(member, { restUntilMs: 0, failures: 0, ...health, slots, busy: 0, isNewcomer })
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

/** A round being changed: copies of what may change, and the effects so far. */
class Draft {
  readonly members: Map<string, Member>
  readonly #round: Round
  readonly #nowMs: number
  readonly #leases: Map<number, Lease>
  readonly #filled: Set<number>
  readonly #spoilt: Map<number, readonly string[]>
  readonly #opinions: Map<number, readonly Opinion[]>
  readonly #effects: Effect[] = []
  #waiting: number[]
  #hasAudited: boolean
  #phase: Round['phase']
  #reason: string

  constructor(round: Round, nowMs: number) {
    this.#round = round
    this.#nowMs = nowMs
    this.members = new Map(round.members)
    this.#leases = new Map(round.leases)
    this.#filled = new Set(round.filled)
    this.#spoilt = new Map(round.spoilt)
    this.#opinions = new Map(round.opinions)
    this.#waiting = [...round.waiting]
    this.#hasAudited = round.hasAudited
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
      spoilt: this.#spoilt,
      opinions: this.#opinions,
      hasAudited: this.#hasAudited,
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
    const norm = gradientNorm(sum)
    const problem = sum.length !== this.#round.rules.length ? 'shape' : Number.isFinite(norm) ? undefined : 'not_finite'
    if (problem) {
      refuse(problem)
      if (lease.over) return
      this.#end(attempt, lease)
      const what = problem === 'shape' ? 'has a wrong shape' : 'is not finite (lower the learning rate, or clip it)'
      return this.#spoil(lease, `its gradient ${what}`)
    }
    this.#rested(member)
    if (!lease.over) this.#end(attempt, lease)
    const isNewcomers = this.members.get(member)?.isNewcomer ?? false
    const opinion = { member, sum, norm, isNewcomers }
    const others = this.#opinions.get(unit) ?? []
    if (others.some((other) => other.member === member)) refuse('duplicate')
    else if (others.length > 0) this.#compare(unit, opinion, others)
    else if (this.#judges(unit, opinion).length > 0 && this.#isDoubtful(opinion)) {
      this.#opinions.set(unit, [opinion])
    } else this.#accept(unit, opinion)
  }

  /** Whether a result must be computed again by another member. */
  #isDoubtful(opinion: Opinion): boolean {
    if (opinion.isNewcomers || this.#isOutOfProportion(opinion)) return true
    if (opinion.member !== this.#round.rules.doubts.audited || this.#hasAudited) return false
    this.#hasAudited = true
    return true
  }

  #isOutOfProportion({ sum, norm }: Opinion): boolean {
    const { typicalNorm } = this.#round.rules.doubts
    return typicalNorm > 0 && norm > DEFAULTS.trainingNormFactor * typicalNorm * Math.abs(sum.at(-1) ?? 0)
  }

  /** Who could still be asked about a unit. */
  #others(unit: number, asked: readonly string[]): string[] {
    const spoilt = this.#spoilt.get(unit) ?? []
    return [...this.members.keys()].filter((id) => !asked.includes(id) && !spoilt.includes(id))
  }

  /**
   * Who may judge a lone result. A step does not stand still to check one with a member that stands still, unless the
   * result is out of all proportion.
   */
  #judges(unit: number, opinion: Opinion): string[] {
    const others = this.#others(unit, [opinion.member])
    if (this.#isOutOfProportion(opinion)) return others
    return others.filter((id) => (this.members.get(id)?.restUntilMs ?? 0) <= this.#nowMs)
  }

  /** The first two that agree are believed; whoever said otherwise is not, and is not asked again. */
  #compare(unit: number, opinion: Opinion, others: readonly Opinion[]): void {
    const { tolerance } = this.#round.rules.doubts
    const same = others.find(({ sum }) => agree(sum, opinion.sum, tolerance))
    if (!same) return void this.#opinions.set(unit, [...others, opinion])
    this.#effects.push({ type: 'agreed', members: [same.member, opinion.member] })
    this.#accept(unit, same)
    this.#vouchFor(same.member)
    this.#vouchFor(opinion.member)
    for (const { member } of others) {
      if (member === same.member) continue
      this.#effects.push({ type: 'refuse', member, reason: 'disagrees' }, { type: 'distrust', member })
      this.leave(member)
    }
  }

  /** One confirmed result stands for what else a newcomer has answered. */
  #vouchFor(id: string): void {
    const member = this.members.get(id)
    if (!member?.isNewcomer) return
    this.members.set(id, { ...member, isNewcomer: false })
    for (const [unit, [only, ...more]] of this.#opinions) {
      if (only?.member === id && only.isNewcomers && more.length === 0) this.#accept(unit, only)
    }
  }

  /** Where nobody is left to ask: a lone result is believed as ever, results that differ end the round. */
  #settle(unit: number): void {
    const opinions = this.#opinions.get(unit)
    const [only, ...more] = opinions ?? []
    if (!only) return
    if (more.length === 0) return this.#judges(unit, only).length > 0 ? undefined : this.#accept(unit, only)
    if (this.#others(unit, (opinions ?? []).map(({ member }) => member)).length > 0) return
    const [shards, members] = [this.#round.units[unit], opinions?.map(({ member }) => member).join(', ')]
    this.#fail(
      `workers ${members} gave different gradients for shards ${shards?.from} to ${shards?.to}, and no other ` +
        'is there to decide (add one)',
    )
  }

  #accept(unit: number, { sum, norm }: Opinion): void {
    const shards = this.#round.units[unit]
    if (!shards) return
    this.#filled.add(unit)
    this.#opinions.delete(unit)
    this.#effects.push({ type: 'accept', unit: shards, sum, norm })
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
    // A unit that someone else computed meanwhile is no failure of the one who was told to stop.
    if (this.#filled.has(lease.unit)) return
    const { restBaseMs, restCapMs } = this.#round.rules
    this.#rest(member, restBaseMs, restCapMs)
    if (fatal) this.#spoil(lease, reason)
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
    if (this.#phase === 'collecting') { for (const unit of [...this.#waiting]) this.#settle(unit) }
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
      const mayTake = !this.#filled.has(lease.unit) && !this.#spoilt.get(lease.unit)?.includes(id) &&
        !this.#hasAnswered(lease.unit, id)
      if (begun.has(lease.member) && mayTake) return [attempt, lease]
      begun.add(lease.member)
    }
    return undefined
  }

  /** Its result of the unit waits for another's: its own again would say nothing. */
  #hasAnswered(unit: number, id: string): boolean {
    return this.#opinions.get(unit)?.some(({ member }) => member === id) ?? false
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
    const spoilt = this.#spoilt.get(unit) ?? []
    const holders = [...this.#leases.values()].filter((lease) => lease.unit === unit && !lease.over)
    let best: { id: string; member: Member } | undefined
    for (const [id, member] of this.members) {
      if (member.busy >= member.slots || member.restUntilMs > this.#nowMs) continue
      if (holders.some((lease) => lease.member === id) || this.#hasAnswered(unit, id)) continue
      // One whose result was refused gets this unit again only if there is nobody else at all.
      if (spoilt.includes(id) && this.members.size > new Set(spoilt).size) continue
      if (!best || member.busy < best.member.busy) best = { id, member }
    }
    return best?.id
  }

  /** Whoever spoilt a unit gets it again only if there is nobody else; if all do, the round has failed. */
  #spoil({ unit, member }: Lease, reason: string): void {
    const spoilt = [...this.#spoilt.get(unit) ?? [], member]
    this.#spoilt.set(unit, spoilt)
    const { minSpoilt, maxSpoilt } = this.#round.rules
    if (spoilt.length < Math.min(maxSpoilt, Math.max(minSpoilt, this.members.size))) return
    const shards = this.#round.units[unit]
    this.#fail(`${spoilt.length} attempts at shards ${shards?.from} to ${shards?.to} failed: ${reason}`)
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
