import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../shared/base/random.ts'
import { rises, trendOf } from '../../soak/trend.ts'

const EVERY_MS = 5_000
const series = (count: number, value: (hours: number, i: number) => number) =>
  Array.from({ length: count }, (_, i) => ({ atMs: i * EVERY_MS, value: value(i * EVERY_MS / 3_600_000, i) }))

describe('a trend', () => {
  it('of a straight line is its slope, without doubt', () => {
    const trend = trendOf(series(20, (hours) => 7 + 12 * hours))
    expect(trend.slopePerHour).toBeCloseTo(12, 6)
    expect(trend.marginPerHour).toBeCloseTo(0, 6)
    expect(trend).toMatchObject({ first: 7, samples: 20 })
    expect([rises(trend, 11), rises(trend, 13)]).toEqual([true, false])
  })

  it('of noise holds the true slope in its interval about 95 times in 100', () => {
    const random = seededRandom(7)
    let within = 0
    for (let round = 0; round < 400; round++) {
      const { slopePerHour, marginPerHour } = trendOf(series(100, (hours) => 3 * hours + random() - 0.5))
      if (Math.abs(slopePerHour - 3) <= marginPerHour) within++
    }
    // 380 expected; the standard deviation of that count is 4.4, and the correction for correlation only widens.
    expect(within).toBeGreaterThanOrEqual(366)
    expect(within).toBeLessThanOrEqual(398)
  })

  it('of samples that resemble those before them is told with the doubt that they deserve', () => {
    const random = seededRandom(11)
    let within = 0
    for (let round = 0; round < 400; round++) {
      let noise = 0
      const wandering = series(100, (hours) => 3 * hours + (noise = 0.7 * noise + random() - 0.5))
      const { slopePerHour, marginPerHour } = trendOf(wandering)
      if (Math.abs(slopePerHour - 3) <= marginPerHour) within++
    }
    // As if they were independent it would be about 235: the true error is √((1 + 0.7) / (1 − 0.7)) = 2.4 times as large.
    expect(within).toBeGreaterThanOrEqual(360)
  })

  it('needs three samples', () => {
    expect(() => trendOf(series(2, () => 1))).toThrow(/at least 3 samples/)
  })
})
