import type { Fence } from '../contracts/training.ts'
import type { Effect, Lease, Member, Refusal, Round, RoundEvent } from './round_state.ts'

export * from './round_state.ts'

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

/** A round being changed: copies of what may change, and the effects so far. */
class Draft {
  readonly members: Map<string, Member>
  readonly #round: Round
  readonly #nowMs: number
  readonly #leases: Map<number, Lease>
  readonly #filled: Set<number>
  readonly #spoilt: Map<number, readonly string[]>
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
    this.#spoilt = new Map(round.spoilt)
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
      spoilt: this.#spoilt,
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
      this.#end(attempt, lease)
      const what = problem === 'shape' ? 'has a wrong shape' : 'is not finite (lower the learning rate, or clip it)'
      return this.#spoil(lease, `its gradient ${what}`)
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
      const mayTake = !this.#filled.has(lease.unit) && !this.#spoilt.get(lease.unit)?.includes(id)
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
    const spoilt = this.#spoilt.get(unit) ?? []
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

/** One pass without branches: a sum is finite only if all its terms are, or some cancel to NaN. */
function isFinite(values: Float32Array): boolean {
  let probe = 0
  for (let i = 0; i < values.length; i++) probe += (values[i] ?? 0) * 0
  return probe === 0
}
