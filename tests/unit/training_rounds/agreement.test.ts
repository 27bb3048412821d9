import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../shared/base/random.ts'
import type { Fence } from '../../../shared/contracts/training.ts'
import {
  agree,
  auditShare,
  chooseAudited,
  gradientNorm,
  TOLERANCES,
  TypicalNorm,
} from '../../../shared/training/agreement.ts'
import { advance, type Effect, openRound, type Round, type RoundEvent } from '../../../shared/training/round.ts'
import { alignedUnits } from '../../../shared/training/units.ts'
import { playRound, RULES } from './simulator.ts'

const FENCE: Fence = { run: 'r', epoch: 2, step: 7, parameters: 'a'.repeat(64) }
const GOOD = [3, 4, 1, 2]
const BAD = [-3, 4, 1, 2]

describe('sums of the same shards', () => {
  const random = seededRandom(1)
  const sum = Float32Array.from({ length: 1002 }, (_, i) => i < 1000 ? random() - 0.5 : 64)
  const changed = (change: (value: number, i: number) => number) => sum.map(change)

  it('agree where they differ by rounding alone', () => {
    expect(agree(sum, changed((value, i) => i < 1000 ? value * (1 + 3e-6 * (random() - 0.5)) : value), TOLERANCES.fp32))
      .toBe(true)
    // Gradients that cancelled to nothing: what is left is noise.
    const rest = sum.map((_, i) => i < 1000 ? 1e-6 * (random() - 0.5) : 64)
    expect(agree(rest, rest.map((value, i) => i < 1000 ? -value : value), TOLERANCES.fp32)).toBe(true)
    // Of two answers equally likely, devices prefer one each.
    const [right, oneMore] = [Float32Array.of(8, 14, 16), Float32Array.of(8, 15, 16)]
    expect(agree(right, oneMore, TOLERANCES.fp32)).toBe(true)
  })

  it('differ where one was tampered with: its sign, its scale, some of its values, its loss or its weight', () => {
    const tampered = {
      sign: changed((value, i) => i < 1000 ? -value : value),
      scale: changed((value, i) => i < 1000 ? value * 1.01 : value),
      values: changed((value, i) => i < 20 ? 0 : value),
      loss: changed((value, i) => i === 1000 ? 80 : value),
      weight: changed((value, i) => i === 1001 ? 1 : value),
      shorter: sum.subarray(1),
    }
    for (const [what, other] of Object.entries(tampered)) expect(agree(sum, other, TOLERANCES.fp32), what).toBe(false)
  })

  it('have a norm that is finite only if all of their values are', () => {
    expect(gradientNorm(Float32Array.of(3, 4, 100, 64))).toBe(5)
    const many = Float32Array.from({ length: 13 }, (_, i) => i < 11 ? i : 1)
    // Σ i² from 0 to 10
    expect(gradientNorm(many)).toBeCloseTo(Math.sqrt(385), 9)
    for (let i = 0; i < 13; i++) expect(gradientNorm(many.with(i, NaN)), `value ${i}`).toEqual(NaN)
    expect(gradientNorm(Float32Array.of(3e38, 3e38, 1, 1))).toBeGreaterThan(4e38)
    for (const spoilt of [[NaN, 0, 0], [Infinity, -Infinity, 0, 0], [1, NaN, 0], [1, 2, 0, Infinity]]) {
      expect(Number.isFinite(gradientNorm(Float32Array.from(spoilt)))).toBe(false)
    }
  })
})

describe('audits', () => {
  it('are of the member checked least, seldom, and more seldom with each agreement', () => {
    const random = seededRandom(4)
    expect(chooseAudited([{ id: 'a', agreements: 0 }], random)).toBeUndefined()
    const shares = [0, 10, 20, 40, 10_000].map(auditShare)
    expect(shares).toEqual([0.05, 0.05, 0.025, 0.0125, 0.005])
    const members = [{ id: 'a', agreements: 9 }, { id: 'b', agreements: 8 }]
    const chosen = Array.from({ length: 4000 }, () => chooseAudited(members, random))
    expect(chosen).not.toContain('a')
    // 5 % of 4,000: five standard deviations of 13.8 either way.
    const count = chosen.filter((id) => id === 'b').length
    expect(count).toBeGreaterThan(130)
    expect(count).toBeLessThan(270)
  })

  it('know what is usual by the median, so that a few outliers do not move it', () => {
    const typical = new TypicalNorm()
    for (const norm of [10, 20, 30]) typical.add(norm, 10)
    expect(typical.value).toBe(0)
    for (const norm of [20, 1e30, 1e30]) typical.add(norm, 10)
    expect(typical.value).toBe(3)
    for (let i = 0; i < 100; i++) typical.add(50, 10)
    expect(typical.value).toBe(5)
  })
})

describe('a round in doubt', () => {
  it('takes an audited result once another member gives the same, and audits one of them only', () => {
    const { round, effects } = play([joined('a', 2), joined('b', 2), answer('a', 0, GOOD), answer('a', 1, GOOD)])
    expect(acceptedOf(effects)).toEqual(['a:1'])
    expect(round.phase).toBe('collecting')
    const done = answerOpenLeases(round, { b: GOOD })
    expect(done.round.phase).toBe('complete')
    expect(effectsOf(done.effects, 'agreed')).toEqual([{ type: 'agreed', members: ['a', 'b'] }])
  })

  it('does not ask the audited member again', () => {
    const { effects } = play([joined('a', 4), answer('a', 0, GOOD), joined('b', 1)])
    const again = effectsOf(effects, 'lease').filter(({ unit }) => unit.from === 0)
    expect(again.map(({ member }) => member)).toEqual(['a'])
    const later = play([joined('a', 4), joined('b', 2), answer('a', 0, GOOD)])
    expect(effectsOf(later.effects, 'lease').filter(({ unit }) => unit.from === 0).map(({ member }) => member))
      .toEqual(['a', 'b'])
  })

  it('believes nothing of a newcomer until one of its results is confirmed, and then all of them', () => {
    const newcomers = { type: 'joined', nowMs: 0, members: ['a', 'b'].map(newcomer) } as const
    const start = play([newcomers, answer('a', 0, GOOD), answer('b', 1, GOOD), answer('a', 2, GOOD)], TRUST)
    expect(acceptedOf(start.effects)).toEqual([])
    const [first] = [...start.round.leases].filter(([, { unit, member, over }]) =>
      unit === 0 && member === 'b' && !over
    )
    const [round, effects] = advance(start.round, answer('b', first?.[0] ?? -1, GOOD))
    expect(effectsOf(effects, 'accept').map(({ unit }) => unit.from).sort()).toEqual([0, 1, 2])
    expect([...round.members.values()].map(({ isNewcomer }) => isNewcomer)).toEqual([false, false])
    expect(answerOpenLeases(round, { a: GOOD, b: GOOD }).round.phase).toBe('complete')
    const alone = play([{ ...newcomers, members: [newcomer('a')] }, answer('a', 0, GOOD)], TRUST)
    expect(acceptedOf(alone.effects)).toEqual(['a:0'])
  })

  it('believes two of three, and asks the third no more', () => {
    const start = play([joined('a', 1), joined('b', 1), joined('c', 1), answer('a', 0, BAD)])
    const done = answerOpenLeases(start.round, { a: BAD, b: GOOD, c: GOOD })
    const effects = [...start.effects, ...done.effects]
    expect(done.round.phase).toBe('complete')
    expect(effectsOf(effects, 'distrust')).toEqual([{ type: 'distrust', member: 'a' }])
    expect(effectsOf(effects, 'refuse')).toContainEqual({ type: 'refuse', member: 'a', reason: 'disagrees' })
    expect([...done.round.members.keys()]).toEqual(['b', 'c'])
    const first = effectsOf(effects, 'accept').find(({ unit }) => unit.from === 0)
    expect([...first?.sum ?? []]).toEqual(GOOD)
  })

  it('fails if two differ and nobody else is there, saying who', () => {
    const start = play([joined('a', 1), joined('b', 1), answer('a', 0, BAD)])
    const done = answerOpenLeases(start.round, { a: BAD, b: GOOD })
    expect(done.round).toMatchObject({ phase: 'failed' })
    expect(done.round.reason).toMatch(/workers a, b gave different gradients for shards 0 to 1/)
  })

  it('takes a lone result when whoever could have checked it has left', () => {
    const { round, effects } = play([joined('a', 4), joined('b', 1), answer('a', 0, GOOD), left('b')])
    expect(acceptedOf(effects)).toEqual(['a:0'])
    expect(answerOpenLeases(round, { a: GOOD }).round.phase).toBe('complete')
  })

  it('takes a lone result when whoever should have checked it stands still beyond its lease', () => {
    const start = play([joined('a', 4), joined('b', 2), answer('a', 0, GOOD)])
    expect(acceptedOf(start.effects)).toEqual([])
    const [round, effects] = advance(start.round, { type: 'tick', nowMs: 101 })
    expect(effectsOf(effects, 'accept').map(({ unit }) => unit.from)).toEqual([0])
    expect(round.members.has('b')).toBe(true)
    // But not if it is out of all proportion: then the step waits.
    const doubts = { typicalNorm: 0.01, tolerance: TOLERANCES.fp32 }
    const huge = play([joined('a', 4), joined('b', 2), answer('a', 0, [3e37, 3e37, 1, 2])], doubts)
    expect(advance(huge.round, { type: 'tick', nowMs: 101 })[0].filled.size).toBe(0)
  })

  it('has a gradient out of all proportion computed again, whoever sent it', () => {
    const doubts = { typicalNorm: 0.01, tolerance: TOLERANCES.fp32 }
    const huge = [3e37, 3e37, 1, 2]
    // 100 times 0.01 for each of two rows: 2 is still usual.
    const { effects } = play(
      [joined('a', 2), joined('b', 2), answer('a', 0, [1.9, 0, 1, 2]), answer('a', 1, huge)],
      doubts,
    )
    expect(acceptedOf(effects)).toEqual(['a:0'])
    const alone = play([joined('a', 2), answer('a', 0, huge)], doubts)
    expect(acceptedOf(alone.effects)).toEqual(['a:0'])
  })
})

const play = (events: readonly RoundEvent[], doubts: Round['rules']['doubts'] = AUDIT_A) =>
  playRound(openRound(FENCE, alignedUnits(0, 4, 4), { ...RULES, length: 4, doubts }), events)

const TRUST = { typicalNorm: 0, tolerance: TOLERANCES.fp32 }
const newcomer = (member: string) => ({ member, slots: 2, isNewcomer: true })
const AUDIT_A = { audited: 'a', typicalNorm: 0, tolerance: TOLERANCES.fp32 }

/** Every member answers what it is leased, until nothing is leased any more. */
function answerOpenLeases(start: Round, sums: Readonly<Record<string, readonly number[]>>) {
  let round = start
  const effects: Effect[] = []
  for (;;) {
    const open = [...round.leases].find(([, { over }]) => !over)
    if (!open || round.phase !== 'collecting') return { round, effects }
    const [attempt, { member }] = open
    const [next, more] = advance(round, answer(member, attempt, sums[member] ?? []))
    round = next
    effects.push(...more)
  }
}

function joined(member: string, slots: number): RoundEvent {
  return { type: 'joined', members: [{ member, slots }], nowMs: 0 }
}
function left(member: string): RoundEvent {
  return { type: 'left', member, nowMs: 0 }
}
function answer(member: string, attempt: number, sum: readonly number[]): RoundEvent {
  return { type: 'result', member, attempt, fence: FENCE, sum: Float32Array.from(sum), nowMs: 0 }
}
function effectsOf<T extends Effect['type']>(effects: readonly Effect[], type: T) {
  return effects.filter((effect): effect is Extract<Effect, { type: T }> => effect.type === type)
}
/** Whose lease of which shard was the one accepted last. */
function acceptedOf(effects: readonly Effect[]): string[] {
  return effectsOf(effects, 'accept').map(({ unit }) => {
    const lease = effectsOf(effects, 'lease').find((one) => one.unit.from === unit.from)
    return `${lease?.member}:${unit.from}`
  })
}
