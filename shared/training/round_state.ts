import type { Fence } from '../contracts/training.ts'
import type { Doubts } from './agreement.ts'
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
  /** Nobody has confirmed a result of it yet: none counts alone. */
  readonly isNewcomer: boolean
}

export interface Joining {
  readonly member: string
  readonly slots: number
  /** What an earlier round left of it. */
  readonly health?: Health
  readonly isNewcomer?: boolean
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
  /** Members that spoilt a unit, by unit: their result was invalid, or they failed for good. */
  readonly spoilt: ReadonlyMap<number, readonly string[]>
  /** Results that wait for another member's of the same unit, by unit; all of them differ. */
  readonly opinions: ReadonlyMap<number, readonly Opinion[]>
  /** Whether the audited member's result is, or was, waited for. */
  readonly hasAudited: boolean
  /** Why it failed. */
  readonly reason: string
}

/** A result that is not believed until another member gives the same. */
export interface Opinion {
  readonly member: string
  readonly sum: Float32Array
  readonly norm: number
  /** Its member may yet be vouched for by another result; else this very one is in doubt. */
  readonly isNewcomers: boolean
}

export interface RoundRules {
  /** Values in each sum. */
  readonly length: number
  readonly leaseMs: number
  /** Rest after a failure: base · 2^n, at most the cap; after a lease that ran out: lease · 2^n, at most the cap. */
  readonly restBaseMs: number
  readonly restCapMs: number
  readonly overdueRestCapMs: number
  /**
   * Attempts at one unit that failed for good, or gave an invalid result, after which the fault is taken to be the
   * model's: as many as there are members, within these bounds. Each is another member's, as long as there are others.
   */
  readonly minSpoilt: number
  readonly maxSpoilt: number
  readonly doubts: Doubts
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

export type Refusal = 'stale' | 'late' | 'duplicate' | 'foreign' | 'shape' | 'not_finite' | 'disagrees'

export type Effect =
  | { readonly type: 'lease'; readonly member: string; readonly unit: Block; readonly attempt: number }
  /** The unit's sum, which enters the tree; there is one for each unit. */
  | { readonly type: 'accept'; readonly unit: Block; readonly sum: Float32Array; readonly norm: number }
  /** Two members gave the same. */
  | { readonly type: 'agreed'; readonly members: readonly string[] }
  /** Its result was another than two others': nothing of it is believed any more. */
  | { readonly type: 'distrust'; readonly member: string }
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
    spoilt: new Map(),
    opinions: new Map(),
    hasAudited: false,
    reason: '',
  }
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
