import { DEFAULTS } from '../base/defaults.ts'
import type { Fence } from '../contracts/training.ts'
import { agree, gradientNorm } from './agreement.ts'
import type { RoundDraft } from './round_draft.ts'
import type { Opinion, Refusal, RoundEvent } from './round_state.ts'

/** An answer has come: it is refused, believed, or kept until another member's confirms it. */
export function judge(draft: RoundDraft, event: Extract<RoundEvent, { type: 'result' }>): void {
  const { member, attempt, sum } = event
  const refuse = (reason: Refusal) => void draft.effects.push({ type: 'refuse', member, reason })
  if (!sameFence(event.fence, draft.round.fence)) return refuse('stale')
  const lease = draft.leases.get(attempt)
  if (lease?.member !== member) return refuse('foreign')
  const { unit } = lease
  if (draft.phase !== 'collecting') return refuse('late')
  // Before anything is judged by it: a second copy of an answer must not free its member twice.
  if (draft.filled.has(unit)) {
    refuse(lease.over ? 'duplicate' : 'late')
    if (!lease.over) draft.end(attempt, lease)
    return
  }
  const norm = gradientNorm(sum)
  const problem = sum.length !== draft.round.rules.length ? 'shape' : Number.isFinite(norm) ? undefined : 'not_finite'
  if (problem) {
    refuse(problem)
    if (lease.over) return
    draft.end(attempt, lease)
    const what = problem === 'shape' ? 'has a wrong shape' : 'is not finite (lower the learning rate, or clip it)'
    return draft.spoil(lease, `its gradient ${what}`)
  }
  draft.rested(member)
  if (!lease.over) draft.end(attempt, lease)
  const isNewcomers = draft.members.get(member)?.isNewcomer ?? false
  const opinion = { member, sum, norm, isNewcomers }
  const others = draft.opinions.get(unit) ?? []
  if (others.some((other) => other.member === member)) refuse('duplicate')
  else if (others.length > 0) compare(draft, unit, opinion, others)
  else if (judges(draft, unit, opinion).length > 0 && isDoubtful(draft, opinion)) {
    draft.opinions.set(unit, [opinion])
  } else accept(draft, unit, opinion)
}

/** A member has not computed what it was leased. */
export function judgeFailure(
  draft: RoundDraft,
  { member, attempt, fatal, reason }: Extract<RoundEvent, { type: 'failed' }>,
): void {
  const lease = draft.leases.get(attempt)
  if (lease?.member !== member || lease.over) return
  draft.end(attempt, lease)
  // A unit that someone else computed meanwhile is no failure of the one who was told to stop.
  if (draft.filled.has(lease.unit)) return
  const { restBaseMs, restCapMs } = draft.round.rules
  draft.rest(member, restBaseMs, restCapMs)
  if (fatal) draft.spoil(lease, reason)
}

/** Whether a result must be computed again by another member. */
function isDoubtful(draft: RoundDraft, opinion: Opinion): boolean {
  if (opinion.isNewcomers || isOutOfProportion(draft, opinion)) return true
  if (opinion.member !== draft.round.rules.doubts.audited || draft.hasAudited) return false
  draft.hasAudited = true
  return true
}

function isOutOfProportion(draft: RoundDraft, { sum, norm }: Opinion): boolean {
  const { typicalNorm } = draft.round.rules.doubts
  return typicalNorm > 0 && norm > DEFAULTS.trainingNormFactor * typicalNorm * Math.abs(sum.at(-1) ?? 0)
}

/** Who could still be asked about a unit. */
function askable(draft: RoundDraft, unit: number, asked: readonly string[]): string[] {
  const spoilt = draft.spoilt.get(unit) ?? []
  return [...draft.members.keys()].filter((id) => !asked.includes(id) && !spoilt.includes(id))
}

/**
 * Who may judge a lone result. A step does not stand still to check one with a member that stands still, unless the
 * result is out of all proportion.
 */
function judges(draft: RoundDraft, unit: number, opinion: Opinion): string[] {
  const others = askable(draft, unit, [opinion.member])
  if (isOutOfProportion(draft, opinion)) return others
  return others.filter((id) => (draft.members.get(id)?.restUntilMs ?? 0) <= draft.nowMs)
}

/** The first two that agree are believed; whoever said otherwise is not, and is not asked again. */
function compare(draft: RoundDraft, unit: number, opinion: Opinion, others: readonly Opinion[]): void {
  const { tolerance } = draft.round.rules.doubts
  const same = others.find(({ sum }) => agree(sum, opinion.sum, tolerance))
  if (!same) return void draft.opinions.set(unit, [...others, opinion])
  draft.effects.push({ type: 'agreed', members: [same.member, opinion.member] })
  accept(draft, unit, same)
  vouchFor(draft, same.member)
  vouchFor(draft, opinion.member)
  for (const { member } of others) {
    if (member === same.member) continue
    draft.effects.push({ type: 'refuse', member, reason: 'disagrees' }, { type: 'distrust', member })
    draft.leave(member)
  }
}

/** One confirmed result stands for what else a newcomer has answered. */
function vouchFor(draft: RoundDraft, id: string): void {
  const member = draft.members.get(id)
  if (!member?.isNewcomer) return
  draft.members.set(id, { ...member, isNewcomer: false })
  for (const [unit, [only, ...more]] of draft.opinions) {
    if (only?.member === id && only.isNewcomers && more.length === 0) accept(draft, unit, only)
  }
}

/** Settles what waits for another opinion where nobody is left to ask. */
export function settleOpinions(draft: RoundDraft): void {
  if (draft.phase !== 'collecting') return
  for (const unit of [...draft.waiting]) settle(draft, unit)
}

/** Where nobody is left to ask: a lone result is believed as ever, results that differ end the round. */
function settle(draft: RoundDraft, unit: number): void {
  const opinions = draft.opinions.get(unit)
  const [only, ...more] = opinions ?? []
  if (!only) return
  if (more.length === 0) return judges(draft, unit, only).length > 0 ? undefined : accept(draft, unit, only)
  if (askable(draft, unit, (opinions ?? []).map(({ member }) => member)).length > 0) return
  const [shards, members] = [draft.round.units[unit], opinions?.map(({ member }) => member).join(', ')]
  draft.fail(
    `workers ${members} gave different gradients for shards ${shards?.from} to ${shards?.to}, and no other ` +
      'is there to decide (add one)',
  )
}

function accept(draft: RoundDraft, unit: number, { sum, norm }: Opinion): void {
  const shards = draft.round.units[unit]
  if (!shards) return
  draft.filled.add(unit)
  draft.opinions.delete(unit)
  draft.effects.push({ type: 'accept', unit: shards, sum, norm })
  draft.waiting = draft.waiting.filter((waiting) => waiting !== unit)
  for (const [other, { unit: same, over, member: holder }] of draft.leases) {
    if (same === unit && !over) draft.effects.push({ type: 'cancel', member: holder, attempt: other })
  }
  if (draft.filled.size === draft.round.units.length) draft.phase = 'complete'
}

function sameFence(a: Fence, b: Fence): boolean {
  return a.run === b.run && a.epoch === b.epoch && a.step === b.step && a.parameters === b.parameters
}
