/** How a quantity moves over time. */
export interface Trend {
  /** Per hour, in the quantity's own unit. */
  slopePerHour: number
  /** Half the width of the slope's 95 % interval. */
  marginPerHour: number
  first: number
  last: number
  samples: number
}

const HOUR_MS = 3_600_000
/** Of the normal distribution: with dozens of samples Student's is within a few percent of it. */
const Z_95 = 1.96

/**
 * A straight line by least squares, with the 95 % interval of its slope. Samples of one process resemble those before
 * them, so the interval is widened by what the residuals' correlation with their predecessors takes from their number.
 * @param samples at least three, in order of time
 */
export function trendOf(samples: readonly { atMs: number; value: number }[]): Trend {
  const n = samples.length
  if (n < 3) throw new Error(`Cannot tell a trend: at least 3 samples are required, got ${n}`)
  const mean = (read: (sample: { atMs: number; value: number }) => number) =>
    samples.reduce((sum, sample) => sum + read(sample), 0) / n
  const [meanMs, meanValue] = [mean(({ atMs }) => atMs), mean(({ value }) => value)]
  const spread = samples.reduce((sum, { atMs }) => sum + (atMs - meanMs) ** 2, 0)
  const slope = samples.reduce((sum, { atMs, value }) => sum + (atMs - meanMs) * (value - meanValue), 0) / spread
  const residuals = samples.map(({ atMs, value }) => value - meanValue - slope * (atMs - meanMs))
  const squares = residuals.reduce((sum, residual) => sum + residual ** 2, 0)
  const products = residuals.slice(1).reduce((sum, residual, i) => sum + residual * (residuals[i] ?? 0), 0)
  // A correlation of 1 would leave no information at all, a negative one none to take away.
  const correlation = squares === 0 ? 0 : Math.min(0.95, Math.max(0, products / squares))
  const error = Math.sqrt(squares / (n - 2) / spread * (1 + correlation) / (1 - correlation))
  return {
    slopePerHour: slope * HOUR_MS,
    marginPerHour: Z_95 * error * HOUR_MS,
    first: samples[0]?.value ?? NaN,
    last: samples.at(-1)?.value ?? NaN,
    samples: n,
  }
}

/** Whether it rises by more than `perHour`, beyond doubt. */
export function rises({ slopePerHour, marginPerHour }: Trend, perHour: number): boolean {
  return slopePerHour - marginPerHour > perHour
}
