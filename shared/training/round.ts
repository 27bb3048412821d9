import { RoundDraft } from './round_draft.ts'
import { expireLeases, leaseUnits } from './round_leases.ts'
import { judge, judgeFailure, settleOpinions } from './round_results.ts'
import type { Effect, Round, RoundEvent } from './round_state.ts'

export * from './round_state.ts'

/**
 * The whole of a round: who is leased what, and which result counts. Joins, losses, results in any order and number, and
 * the passing of time all come through here; nothing else decides.
 */
export function advance(round: Round, event: RoundEvent): [Round, Effect[]] {
  const draft = new RoundDraft(round, event.nowMs)
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
      judge(draft, event)
      break
    case 'failed':
      judgeFailure(draft, event)
      break
    case 'tick':
      expireLeases(draft)
  }
  settleOpinions(draft)
  leaseUnits(draft)
  return draft.done()
}
