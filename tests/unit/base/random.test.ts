import { describe, expect, it } from 'vitest'
import { fullJitterMs, jitter, newId, seededRandom } from '../../../shared/base/random.ts'

const draw = (seed: number, count: number) => Array.from({ length: count }, seededRandom(seed))

describe('seededRandom', () => {
  it('gives the published sequence of mulberry32', () => {
    // From a run of the original in C with seed 1.
    const expected = [2693262067, 11749833, 2265367787, 4213581821, 4159151403, 1207330352]
    expect(draw(1, expected.length).map((value) => value * 2 ** 32)).toEqual(expected)
  })

  it('repeats itself for one seed and differs for another', () => {
    expect(draw(7, 50)).toEqual(draw(7, 50))
    expect(draw(7, 50)).not.toEqual(draw(8, 50))
  })

  it('is uniform over [0, 1)', () => {
    const values = draw(42, 10_000)
    expect(values.every((value) => value >= 0 && value < 1)).toBe(true)
    const tenths = new Array<number>(10).fill(0)
    for (const value of values) tenths[Math.floor(value * 10)] = (tenths[Math.floor(value * 10)] ?? 0) + 1
    // Binomial(10000, 0.1) has a deviation of 30: five of them, and the seed is fixed.
    for (const count of tenths) expect(Math.abs(count - 1000)).toBeLessThan(150)
  })
})

describe('jitter', () => {
  it('spreads evenly over ± the fraction', () => {
    expect(jitter(100, 0.2, () => 0)).toBe(80)
    expect(jitter(100, 0.2, () => 0.5)).toBe(100)
    expect(jitter(100, 0.2, () => 1)).toBe(120)
  })
})

describe('fullJitterMs', () => {
  const options = { baseMs: 25, capMs: 1000 }
  const almostOne = 1 - 2 ** -32

  it('is below base · 2^attempt until the cap, and never above the cap', () => {
    for (let attempt = 0; attempt < 100; attempt++) {
      const bound = Math.min(1000, 25 * 2 ** attempt)
      const highest = fullJitterMs(attempt, options, () => almostOne)
      expect(highest).toBeLessThan(bound)
      expect(highest).toBeGreaterThan(bound * 0.999)
    }
  })

  it('reaches down to zero: waits are spread over the whole range', () => {
    expect(fullJitterMs(5, options, () => 0)).toBe(0)
    const random = seededRandom(3)
    const waits = Array.from({ length: 1000 }, () => fullJitterMs(3, options, random))
    expect(Math.min(...waits)).toBeLessThan(10)
    expect(Math.max(...waits)).toBeGreaterThan(190)
    expect(Math.max(...waits)).toBeLessThan(200)
  })

  it('stays finite for attempts without end', () => {
    expect(fullJitterMs(1e9, { baseMs: 1, capMs: Infinity }, () => almostOne)).toBeLessThan(2 ** 30)
  })
})

describe('newId', () => {
  it('is a prefix and 128 random bits', () => {
    const ids = new Set(Array.from({ length: 100 }, () => newId('wk')))
    expect(ids.size).toBe(100)
    for (const id of ids) expect(id).toMatch(/^wk_[0-9a-f]{32}$/)
  })
})
