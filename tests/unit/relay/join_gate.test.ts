import { expect, it } from 'vitest'
import { FakeClock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { JoinGate } from '../../../shared/relay/join_gate.ts'

it('lets a burst in, then so many a second', () => {
  const clock = new FakeClock()
  const gate = new JoinGate(clock, 100, 25)
  const admitted = () => Array.from({ length: 50 }, () => gate.admit()).filter((waitMs) => waitMs === 0).length
  expect(admitted()).toBe(25)
})

/*
 * N come at once, and come again when they are told to. Turns are one gap apart, so over the time it takes all of them,
 * N / perSecond, each stretch of it sees as many as the next; the burst at its beginning is on top.
 */
it('those who come at once come back one after another', async () => {
  const clock = new FakeClock(0)
  const gate = new JoinGate(clock, 100, 25)
  const joinedAtMs: number[] = []
  const come = () => {
    const waitMs = gate.admit()
    if (waitMs === 0) joinedAtMs.push(clock.now())
    else clock.after(waitMs, come)
  }
  for (let i = 0; i < 400; i++) come()
  await clock.advance(20_000)
  expect(joinedAtMs).toHaveLength(400)
  const perSecond = Object.values(Object.groupBy(joinedAtMs, (atMs) => Math.floor(atMs / 1_000)))
  for (const joins of perSecond) expect(joins?.length).toBeLessThanOrEqual(126)
  expect(joinedAtMs.at(-1)).toBeLessThan(4_500)
})

it('no flood of requests pushes the turns of others beyond a minute', () => {
  const gate = new JoinGate(new FakeClock(0), 100, 25)
  const waits = Array.from({ length: 20_000 }, () => gate.admit())
  expect(Math.max(...waits)).toBe(DEFAULTS.retryAfterCapMs)
})
