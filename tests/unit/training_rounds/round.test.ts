import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../shared/base/random.ts'
import type { Fence } from '../../../shared/contracts/training.ts'
import { type Block, ReduceTree } from '../../../shared/training/reduce_tree.ts'
import {
  advance,
  type Effect,
  nextTickMs,
  openRound,
  type Round,
  type RoundEvent,
} from '../../../shared/training/round.ts'
import { alignedUnits } from '../../../shared/training/units.ts'
import { playRound, RULES, simulateRound } from './simulator.ts'

const FENCE: Fence = { run: 'r', epoch: 2, step: 7, parameters: 'a'.repeat(64) }
const UNITS = alignedUnits(0, 4, 4)

describe('round', () => {
  it('leases each unit once, to the member with the fewest in hand', () => {
    const { round, effects } = play(UNITS, [joined('a', 3), joined('b', 1)])
    expect(leasesOf(effects)).toEqual(['a:0', 'a:1', 'a:2', 'b:3'])
    expect(round.waiting).toEqual([])
  })

  it('completes with the first valid result of each unit', () => {
    const { round, effects } = play(UNITS, [joined('a', 4), ...[3, 1, 0, 2].map((i) => result('a', i, [i, 0, 1]))])
    expect(round.phase).toBe('complete')
    expect(acceptedOf(effects)).toEqual([[3, 3], [1, 1], [0, 0], [2, 2]])
  })

  it('leases the units of a lost worker to another', () => {
    const { round, effects } = play(UNITS, [joined('a', 4), left('a'), joined('b', 4)])
    expect(leasesOf(effects).slice(4)).toEqual(['b:0', 'b:1', 'b:2', 'b:3'])
    expect(round.members.size).toBe(1)
  })

  it('leases a unit again at its deadline, and takes whichever answer comes first', () => {
    const late = play(UNITS.slice(0, 1), [joined('a', 1), joined('b', 1), tick(100)])
    expect(leasesOf(late.effects)).toEqual(['a:0', 'b:0'])
    const [round, effects] = advance(late.round, { ...result('a', 0, [5, 0, 1]), nowMs: 120 })
    expect(round.phase).toBe('complete')
    expect(acceptedOf(effects)).toEqual([[0, 5]])
    expect(effects.slice(1)).toEqual([{ type: 'cancel', member: 'b', attempt: 1 }])
    const [, refused] = advance(round, { ...result('b', 1, [6, 0, 1]), nowMs: 130 })
    expect(refused).toEqual([{ type: 'refuse', member: 'b', reason: 'late' }])
  })

  it('refuses what is stale, doubled, of another worker, of a wrong shape or not finite', () => {
    const { round, effects } = play(UNITS, [
      joined('a', 4),
      joined('b', 1),
      { ...result('a', 0), fence: { ...FENCE, epoch: 1 } },
      { ...result('a', 0), fence: { ...FENCE, step: 6 } },
      { ...result('a', 0), fence: { ...FENCE, run: 's' } },
      { ...result('a', 0), fence: { ...FENCE, parameters: 'b'.repeat(64) } },
      result('b', 0),
      result('a', 99),
      result('a', 0),
      result('a', 0),
      result('a', 1, [1, 2]),
      result('a', 2, [1, NaN, 3]),
      result('a', 3, [Infinity, 1, 2]),
    ])
    const reasons = effects.flatMap((effect) => effect.type === 'refuse' ? [effect.reason] : [])
    const stale = ['stale', 'stale', 'stale', 'stale']
    expect(reasons).toEqual([...stale, 'foreign', 'foreign', 'duplicate', 'shape', 'not_finite', 'not_finite'])
    expect([...round.filled]).toEqual([0])
    // What was refused was leased again, and not to the same worker while there is another.
    expect(leasesOf(effects).slice(4)).toEqual(['b:1'])
  })

  it('sees an infinity that another cancels', () => {
    const { round } = play(UNITS, [joined('a', 4), result('a', 0, [Infinity, -Infinity, 1])])
    expect(round.filled.size).toBe(0)
  })

  it('fails with the reason when every attempt at a unit is invalid', () => {
    const round = openRound(FENCE, UNITS.slice(0, 1), { ...RULES, minSpoilt: 2 })
    const events = [joined('a', 1), result('a', 0, [NaN, 0, 1]), result('a', 1, [NaN, 0, 1])]
    const failed = events.reduce((state, event) => advance(state, event)[0], round)
    expect(failed.phase).toBe('failed')
    expect(failed.reason).toMatch(/2 attempts at shards 0 to 1 failed: its gradient is not finite/)
    const [after, refused] = advance(failed, result('a', 1))
    expect(refused).toEqual([{ type: 'refuse', member: 'a', reason: 'late' }])
    expect(after.filled.size).toBe(0)
  })

  it('leaves a member that failed alone for longer each time, and wakes it', () => {
    const first = play(UNITS.slice(0, 1), [joined('a', 1), failed('a', 0, false, 1000)])
    expect(nextTickMs(first.round)).toBe(1010)
    const [early] = advance(first.round, tick(1009))
    expect(early.leases.size).toBe(1)
    const [again, effects] = advance(early, tick(1010))
    expect(leasesOf(effects)).toEqual(['a:0'])
    const [twice] = advance(again, failed('a', 1, false, 2000))
    expect(nextTickMs(twice)).toBe(2020)
  })

  it('waits for a member alone with an overdue unit, whose answer still ends the wait', () => {
    const { round, effects } = play(UNITS.slice(0, 1), [joined('a', 2), tick(100), tick(250), tick(1000)])
    expect(leasesOf(effects)).toEqual(['a:0'])
    expect(round.waiting).toEqual([0])
    const [done] = advance(round, { ...result('a', 0), nowMs: 1100 })
    expect(done).toMatchObject({ phase: 'complete', waiting: [] })
  })

  it('hands what waits behind another unit to a member that has nothing to do', () => {
    const { round, effects } = play(UNITS, [
      { type: 'joined', members: [{ member: 'slow', slots: 2 }, { member: 'quick', slots: 2 }], nowMs: 0 },
      result('quick', 1),
      result('quick', 3),
    ])
    expect(leasesOf(effects)).toEqual(['slow:0', 'quick:1', 'slow:2', 'quick:3', 'quick:2'])
    expect(effects).toContainEqual({ type: 'cancel', member: 'slow', attempt: 2 })
    expect(round.members.get('slow')?.busy).toBe(1)
    // Had it begun after all, its result would do as well.
    const [both] = advance(round, result('slow', 2))
    expect([...both.filled].sort()).toEqual([1, 2, 3])
  })

  it('leaves a member alone that let its lease run out, in the next round too, until it answers', () => {
    const stuck = play(UNITS.slice(0, 1), [joined('slow', 1), joined('b', 1), tick(100)])
    const { failures, restUntilMs } = stuck.round.members.get('slow') ?? {}
    expect({ failures, restUntilMs }).toEqual({ failures: 1, restUntilMs: 200 })
    const health = { failures: 1, restUntilMs: 200 }
    const next = play(UNITS, [
      { type: 'joined', members: [{ member: 'slow', slots: 1, health }, { member: 'b', slots: 2 }], nowMs: 0 },
    ])
    expect(leasesOf(next.effects)).toEqual(['b:0', 'b:1'])
    expect(nextTickMs(next.round)).toBe(100)
    const [, woken] = advance(next.round, tick(200))
    // By then the lease of the first unit has run out as well.
    expect(leasesOf(woken)).toEqual(['slow:0'])
    const [late] = advance(stuck.round, { ...result('slow', 0), nowMs: 150 })
    expect(late.members.get('slow')).toMatchObject({ failures: 0, restUntilMs: 0 })
  })

  it('gives up when every member fails for good, and not before', () => {
    const rules = { ...RULES, minSpoilt: 2, maxSpoilt: 16 }
    const both: RoundEvent = {
      type: 'joined',
      members: ['a', 'b', 'c'].map((member) => ({ member, slots: 1 })),
      nowMs: 0,
    }
    const one = openRound(FENCE, UNITS.slice(0, 1), rules)
    const events = [both, failed('a', 0, true, 10), failed('b', 1, true, 20)]
    const twice = events.reduce((state, event) => advance(state, event)[0], one)
    expect(twice.phase).toBe('collecting')
    const [done] = advance(twice, { ...result('c', 2), nowMs: 30 })
    expect(done.phase).toBe('complete')
    const [all] = advance(twice, failed('c', 2, true, 30))
    expect(all).toMatchObject({ phase: 'failed', reason: '3 attempts at shards 0 to 1 failed: no such graph' })
  })

  it('never holds more units than a member has slots, whatever happens (2,000 seeds)', () => {
    for (let seed = 0; seed < 2000; seed++) {
      const { round } = simulate(seed)
      for (const [id, member] of round.members) {
        const held = [...round.leases.values()].filter((lease) => lease.member === id && !lease.over).length
        expect(member.busy, `seed ${seed}`).toBe(held)
        expect(member.busy).toBeLessThanOrEqual(member.slots)
      }
    }
  })

  it('gives the sum of a faultless round, bit for bit, whatever goes wrong (4,000 seeds)', () => {
    let [leases, refusals, units] = [0, 0, 0]
    for (let seed = 0; seed < 4000; seed++) {
      const run = simulate(seed)
      expect(run.round.phase, `seed ${seed}`).toBe('complete')
      const sequential = total(seed, run.round.units.map((unit) => ({ unit, sum: sumOf(seed)(unit) })))
      expect(total(seed, run.accepted), `seed ${seed}`).toEqual(sequential)
      leases += run.leases
      refusals += run.refused.length
      units += run.round.units.length
    }
    // The faults did strike: more leases than units, and refusals.
    expect(leases).toBeGreaterThan(units * 1.3)
    expect(refusals).toBeGreaterThan(units * 0.1)
  })

  it('is a pure function: the same seed twice is the same run, and no state is changed', () => {
    expect(simulate(42)).toEqual(simulate(42))
    const before = play(UNITS, [joined('a', 2)]).round
    const copy = structuredClone(before)
    advance(before, result('a', 0))
    expect(before).toEqual(copy)
  })
})

function simulate(seed: number) {
  const units = alignedUnits(0, shardsOf(seed), 1 + seed % 5)
  const faults = { drop: 0.15, duplicate: 0.2, crash: 0.1, join: 0.1, spoil: 0.1 }
  return simulateRound(seed, FENCE, units, sumOf(seed), faults)
}

function total(seed: number, parts: readonly { unit: Block; sum: Float32Array }[]): Float32Array | undefined {
  const tree = new ReduceTree({ from: 0, to: shardsOf(seed) }, RULES.length)
  for (const { unit, sum } of parts) tree.add({ ...unit, sum })
  return tree.sum
}

function shardsOf(seed: number): number {
  return 1 + seed % 12
}

/** What a unit's sum is: a function of the unit alone. */
function sumOf(seed: number) {
  return ({ from, to }: Block) => {
    const random = seededRandom(seed * 1000 + from * 31 + to)
    return Float32Array.from({ length: RULES.length }, () => random() - 0.5)
  }
}

function play(units: readonly Block[], events: readonly RoundEvent[]): { round: Round; effects: Effect[] } {
  return playRound(openRound(FENCE, units, RULES), events)
}

function joined(member: string, slots: number): RoundEvent {
  return { type: 'joined', members: [{ member, slots }], nowMs: 0 }
}
function left(member: string): RoundEvent {
  return { type: 'left', member, nowMs: 0 }
}
function tick(nowMs: number): RoundEvent {
  return { type: 'tick', nowMs }
}
function failed(member: string, attempt: number, fatal: boolean, nowMs: number): RoundEvent {
  return { type: 'failed', member, attempt, fatal, reason: 'no such graph', nowMs }
}
function result(member: string, attempt: number, sum: readonly number[] = [1, 2, 3]) {
  return { type: 'result', member, attempt, fence: FENCE, sum: Float32Array.from(sum), nowMs: 0 } as const
}
function leasesOf(effects: readonly Effect[]): string[] {
  return effects.flatMap((effect) => effect.type === 'lease' ? [`${effect.member}:${effect.unit.from}`] : [])
}
function acceptedOf(effects: readonly Effect[]): (number | undefined)[][] {
  return effects.flatMap((effect) => effect.type === 'accept' ? [[effect.unit.from, effect.sum[0]]] : [])
}
