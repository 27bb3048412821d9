import { describe, expect, it } from 'vitest'
import { RunBoard, type RunReport } from '../../../functions/gateway/run_board.ts'
import { FakeClock } from '../../../shared/base/clock.ts'
import { LIMITS } from '../../../shared/base/limits.ts'

const report: RunReport = {
  state: 'running',
  step: 1,
  totalSteps: 9,
  workers: 2,
  samplesPerSecond: 10,
  losses: [[1, 0.5]],
  validation: [],
}

describe('board of training runs', () => {
  it('shows the latest report of each run, and forgets who fell silent sooner than what has ended', async () => {
    const clock = new FakeClock()
    const board = new RunBoard(clock)
    board.report('a', report)
    board.report('b', { ...report, state: 'ended' })
    board.report('a', { ...report, step: 2 })
    await clock.advance(1_000)
    expect(board.runs().map(({ run, step, ageMs }) => [run, step, ageMs])).toEqual([['a', 2, 1_000], ['b', 1, 1_000]])
    await clock.advance(60_000)
    expect(board.runs().map(({ run }) => run)).toEqual(['b'])
    await clock.advance(600_000)
    expect(board.runs()).toEqual([])
  })

  it('remembers a bounded number of runs, the latest', () => {
    const board = new RunBoard(new FakeClock())
    for (let i = 0; i < LIMITS.maxShownRuns + 2; i++) board.report(`run-${i}`, report)
    const names = board.runs().map(({ run }) => run)
    expect(names).toHaveLength(LIMITS.maxShownRuns)
    expect([names[0], names.at(-1)]).toEqual([`run-${LIMITS.maxShownRuns + 1}`, 'run-2'])
  })

  it('refuses what is no report', () => {
    const board = new RunBoard(new FakeClock())
    const tooMany = Array.from({ length: LIMITS.maxCurvePoints + 1 }, (_, i): [number, number] => [i, 1])
    expect(() => board.report('a', { ...report, losses: tooMany })).toThrow(/at "losses"/)
    expect(() => board.report('a', { ...report, more: 1 })).toThrow(/Cannot note the run/)
    expect(() => board.report('x'.repeat(LIMITS.maxNameLength + 1), report)).toThrow(/at "run": too long a name/)
    expect(board.runs()).toEqual([])
  })
})
