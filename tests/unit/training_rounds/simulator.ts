import { seededRandom } from '../../../shared/base/random.ts'
import type { Fence } from '../../../shared/contracts/training.ts'
import type { Block } from '../../../shared/training/reduce_tree.ts'
import {
  advance,
  type Effect,
  openRound,
  type Refusal,
  type Round,
  type RoundEvent,
  type RoundRules,
} from '../../../shared/training/round.ts'

/** What may go wrong on the way, each as a probability. */
export interface Faults {
  drop: number
  duplicate: number
  crash: number
  join: number
  spoil: number
}

export interface SimulatedRound {
  round: Round
  /** In the order of acceptance. */
  accepted: { unit: Block; sum: Float32Array }[]
  refused: Refusal[]
  leases: number
  /** Virtual milliseconds until the last unit was filled. */
  tookMs: number
}

interface Message {
  atMs: number
  order: number
  event: RoundEvent
}

export const RULES: RoundRules = {
  length: 3,
  leaseMs: 100,
  restBaseMs: 10,
  restCapMs: 80,
  overdueRestCapMs: 400,
  minSpoilt: 1000,
  maxSpoilt: 1000,
  doubts: { typicalNorm: 0, tolerance: 1e-3 },
}

/** A round after some events, and all that it asked for on the way. */
export function playRound(round: Round, events: readonly RoundEvent[]): { round: Round; effects: Effect[] } {
  const effects: Effect[] = []
  for (const event of events) {
    const [next, more] = advance(round, event)
    round = next
    effects.push(...more)
  }
  return { round, effects }
}

/**
 * Runs one round against workers and a network that misbehave as `seed` says, under a virtual clock: answers are lost,
 * delayed past their lease, doubled and reordered; workers crash and join; some answers are spoilt or of another step.
 */
export function simulateRound(
  seed: number,
  fence: Fence,
  units: readonly Block[],
  sumOf: (unit: Block) => Float32Array,
  faults: Faults,
): SimulatedRound {
  const random = seededRandom(seed)
  const mail: Message[] = []
  const refused: Refusal[] = []
  const accepted: SimulatedRound['accepted'] = []
  let [nowMs, order, members, leases] = [0, 0, 0, 0]
  let round = openRound(fence, units, RULES)
  const alive = new Set<string>()

  const post = (event: RoundEvent, delayMs: number) => {
    mail.push({ atMs: nowMs + delayMs, order: order++, event: { ...event, nowMs: nowMs + delayMs } })
  }
  const join = () => {
    const member = `w${members++}`
    alive.add(member)
    apply({ type: 'joined', members: [{ member, slots: 1 + Math.floor(random() * 2) }], nowMs })
  }
  const onLease = ({ member, unit, attempt }: Extract<Effect, { type: 'lease' }>) => {
    leases++
    if (random() < faults.crash) {
      alive.delete(member)
      return post({ type: 'left', member, nowMs }, random() * 50)
    }
    if (random() < faults.drop) return
    const sum = sumOf(unit).slice()
    const spoilt = random()
    if (spoilt < faults.spoil) sum[0] = random() < 0.5 ? NaN : -Infinity
    const isStale = spoilt > 1 - faults.spoil
    const result: RoundEvent = {
      type: 'result',
      member,
      attempt,
      sum: spoilt < faults.spoil && random() < 0.3 ? sum.subarray(1) : sum,
      fence: isStale ? { ...fence, step: fence.step - 1 } : fence,
      nowMs,
    }
    // Most answers are in time, some come long after their lease.
    const delayMs = () => random() ** 4 * 400
    // A refused answer is followed by the end of its call, as the driver reports it.
    if (isStale) post({ type: 'failed', member, attempt, fatal: false, reason: 'stale', nowMs }, 400)
    post(result, delayMs())
    while (random() < faults.duplicate) post(result, delayMs())
  }
  const apply = (event: RoundEvent) => {
    const [next, effects] = advance(round, event)
    round = next
    for (const effect of effects) {
      if (effect.type === 'lease') onLease(effect)
      if (effect.type === 'accept') accepted.push({ unit: effect.unit, sum: effect.sum })
      if (effect.type === 'refuse') refused.push(effect.reason)
    }
  }

  join()
  while (round.phase === 'collecting' && nowMs < 1e6) {
    // Silence is possible at any time: the clock goes on, and somebody new may come.
    nowMs += 5
    if (random() < faults.join || alive.size === 0) join()
    mail.sort((a, b) => a.atMs - b.atMs || a.order - b.order)
    while (mail[0] && mail[0].atMs <= nowMs) apply((mail.shift() as Message).event)
    apply({ type: 'tick', nowMs })
  }
  const tookMs = nowMs
  // What is still on its way must change nothing any more.
  const before = accepted.length
  for (const { event } of mail) apply(event)
  if (accepted.length !== before) throw new Error('a late answer was taken')
  return { round, accepted, refused, leases, tookMs }
}
