import type { RoundDraft } from './round_draft.ts'
import type { Lease, Member } from './round_state.ts'

/**
 * Units whose lease ran out are leased again; the old lease may still be the first to answer. Its member stands still or
 * is slow, and would hold up the next units as well: it is left alone for a while.
 */
export function expireLeases(draft: RoundDraft): void {
  for (const [attempt, lease] of draft.leases) {
    if (lease.over || lease.overdue || lease.deadlineMs > draft.nowMs) continue
    draft.leases.set(attempt, { ...lease, overdue: true })
    const { leaseMs, overdueRestCapMs } = draft.round.rules
    draft.rest(lease.member, leaseMs, overdueRestCapMs)
    if (!draft.filled.has(lease.unit)) draft.requeue(lease.unit)
  }
}

/** Gives waiting units to free members: those with the fewest units in hand first, in the order they joined. */
export function leaseUnits(draft: RoundDraft): void {
  if (draft.phase !== 'collecting') return
  for (const unit of [...draft.waiting]) {
    const member = choose(draft, unit)
    if (member === undefined) continue
    draft.waiting = draft.waiting.filter((waiting) => waiting !== unit)
    give(draft, unit, member)
  }
  if (draft.waiting.length === 0) takeOver(draft)
}

/** Who has nothing to do takes what waits behind another unit of a busier member: no unit waits while somebody is idle. */
function takeOver(draft: RoundDraft): void {
  for (const [id, { busy, restUntilMs }] of draft.members) {
    if (busy > 0 || restUntilMs > draft.nowMs) continue
    const found = waitingBehind(draft, id)
    if (!found) return
    const [attempt, lease] = found
    draft.leases.set(attempt, { ...lease, over: true })
    draft.hold(lease.member, -1)
    draft.effects.push({ type: 'cancel', member: lease.member, attempt })
    give(draft, lease.unit, id)
  }
}

/** The longest-held lease that its member cannot have begun, and that `id` may have. */
function waitingBehind(draft: RoundDraft, id: string): [number, Lease] | undefined {
  const begun = new Set<string>()
  for (const [attempt, lease] of draft.leases) {
    if (lease.over) continue
    const mayTake = !draft.filled.has(lease.unit) && !draft.spoilt.get(lease.unit)?.includes(id) &&
      !draft.hasAnswered(lease.unit, id)
    if (begun.has(lease.member) && mayTake) return [attempt, lease]
    begun.add(lease.member)
  }
  return undefined
}

function give(draft: RoundDraft, unit: number, member: string): void {
  const attempt = draft.leases.size
  const deadlineMs = draft.nowMs + draft.round.rules.leaseMs
  draft.leases.set(attempt, { unit, member, deadlineMs, over: false, overdue: false })
  draft.hold(member, 1)
  const shards = draft.round.units[unit]
  if (shards) draft.effects.push({ type: 'lease', member, unit: shards, attempt })
}

function choose(draft: RoundDraft, unit: number): string | undefined {
  const spoilt = draft.spoilt.get(unit) ?? []
  const holders = [...draft.leases.values()].filter((lease) => lease.unit === unit && !lease.over)
  let best: { id: string; member: Member } | undefined
  for (const [id, member] of draft.members) {
    if (member.busy >= member.slots || member.restUntilMs > draft.nowMs) continue
    if (holders.some((lease) => lease.member === id) || draft.hasAnswered(unit, id)) continue
    // One whose result was refused gets this unit again only if there is nobody else at all.
    if (spoilt.includes(id) && draft.members.size > new Set(spoilt).size) continue
    if (!best || member.busy < best.member.busy) best = { id, member }
  }
  return best?.id
}
