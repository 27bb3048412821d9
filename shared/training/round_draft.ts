import type { Effect, Lease, Member, Opinion, Round } from './round_state.ts'

/**
 * A round being changed: copies of what may change, the effects so far, and the steps that keep them in agreement. Who is
 * leased what, and which result counts, is decided by those who call them: round_leases.ts and round_results.ts.
 */
export class RoundDraft {
  readonly round: Round
  readonly nowMs: number
  readonly members: Map<string, Member>
  readonly leases: Map<number, Lease>
  readonly filled: Set<number>
  readonly spoilt: Map<number, readonly string[]>
  readonly opinions: Map<number, readonly Opinion[]>
  readonly effects: Effect[] = []
  waiting: number[]
  hasAudited: boolean
  phase: Round['phase']
  reason: string

  constructor(round: Round, nowMs: number) {
    this.round = round
    this.nowMs = nowMs
    this.members = new Map(round.members)
    this.leases = new Map(round.leases)
    this.filled = new Set(round.filled)
    this.spoilt = new Map(round.spoilt)
    this.opinions = new Map(round.opinions)
    this.waiting = [...round.waiting]
    this.hasAudited = round.hasAudited
    this.phase = round.phase
    this.reason = round.reason
  }

  /** What has become of it, and what is to be done. */
  done(): [Round, Effect[]] {
    const round: Round = {
      ...this.round,
      phase: this.phase,
      reason: this.reason,
      members: this.members,
      leases: this.leases,
      filled: this.filled,
      spoilt: this.spoilt,
      opinions: this.opinions,
      hasAudited: this.hasAudited,
      waiting: this.waiting,
    }
    return [round, this.effects]
  }

  /** A member is gone, and with it what it holds. */
  leave(member: string): void {
    this.members.delete(member)
    for (const [attempt, lease] of this.leases) {
      if (lease.member === member && !lease.over) this.end(attempt, lease)
    }
  }

  /** Its result of the unit waits for another's: its own again would say nothing. */
  hasAnswered(unit: number, id: string): boolean {
    return this.opinions.get(unit)?.some(({ member }) => member === id) ?? false
  }

  /** Whoever spoilt a unit gets it again only if there is nobody else; if all do, the round has failed. */
  spoil({ unit, member }: Lease, reason: string): void {
    const spoilt = [...this.spoilt.get(unit) ?? [], member]
    this.spoilt.set(unit, spoilt)
    const { minSpoilt, maxSpoilt } = this.round.rules
    if (spoilt.length < Math.min(maxSpoilt, Math.max(minSpoilt, this.members.size))) return
    const shards = this.round.units[unit]
    this.fail(`${spoilt.length} attempts at shards ${shards?.from} to ${shards?.to} failed: ${reason}`)
  }

  /** The round cannot be finished. */
  fail(reason: string): void {
    this.phase = 'failed'
    this.reason = reason
    for (const [attempt, { over, member }] of this.leases) {
      if (!over) this.effects.push({ type: 'cancel', member, attempt })
    }
  }

  /** A lease is over: its member is free, its unit waits again unless somebody has computed it. */
  end(attempt: number, lease: Lease): void {
    this.leases.set(attempt, { ...lease, over: true })
    this.hold(lease.member, -1)
    if (!this.filled.has(lease.unit)) this.requeue(lease.unit)
  }

  /** A unit waits, unless somebody holds it yet. */
  requeue(unit: number): void {
    const isHeld = [...this.leases.values()].some((lease) => lease.unit === unit && !lease.over && !lease.overdue)
    if (!isHeld && !this.waiting.includes(unit)) this.waiting = [...this.waiting, unit].sort((a, b) => a - b)
  }

  /** A member has a unit more or fewer in hand. */
  hold(id: string, by: number): void {
    const member = this.members.get(id)
    if (member) this.members.set(id, { ...member, busy: member.busy + by })
  }

  /** Leaves a member alone for a while, the longer the more often it has failed. */
  rest(id: string, baseMs: number, capMs: number): void {
    const member = this.members.get(id)
    if (!member) return
    const restUntilMs = this.nowMs + Math.min(capMs, baseMs * 2 ** member.failures)
    this.members.set(id, { ...member, failures: member.failures + 1, restUntilMs })
  }

  /** It has given a valid result. */
  rested(id: string): void {
    const member = this.members.get(id)
    if (member) this.members.set(id, { ...member, failures: 0, restUntilMs: 0 })
  }
}
