import { invalid } from '../wire/errors.ts'

/** A number per step, such as the learning rate. Steps count from 0. The same bits on every machine. */
export type Schedule = (step: number) => number

export function constant(value: number): Schedule {
  return () => value
}

export interface CosineOptions {
  /** Its value at step 0. */
  peak: number
  /** Steps until it reaches `end`, where it stays. */
  steps: number
  end?: number
}

/** Half a cosine from `peak` down to `end`. Source: Loshchilov and Hutter, "SGDR", 2017, without restarts. */
export function cosine({ peak, steps, end = 0 }: CosineOptions): Schedule {
  checkSteps('cosine', steps)
  return (step) => end + (peak - end) * 0.5 * (1 + cosineOfPi(Math.min(step, steps) / steps))
}

/** Rises in a straight line for `steps` steps, the first of which is not 0, then follows `after`, from its step 0. */
export function warmUp(steps: number, after: Schedule): Schedule {
  checkSteps('warm-up', steps)
  return (step) => step < steps ? after(0) * (step + 1) / steps : after(step - steps)
}

function checkSteps(name: string, steps: number): void {
  if (Number.isSafeInteger(steps) && steps > 0) return
  throw invalid(`Cannot make a schedule: ${name} must last a whole number of steps from 1 up, got ${steps}`)
}

/**
 * cos(π x) for x from 0 to 1, by the series of the sine around the middle. Math.cos may differ in its last bit from one
 * engine to the next, and with it every weight; sums, products and quotients of doubles do not.
 */
function cosineOfPi(x: number): number {
  const y = Math.PI * (0.5 - x)
  let term = y
  let sum = y
  for (let k = 2; k <= 24; k += 2) {
    term *= -(y * y) / (k * (k + 1))
    sum += term
  }
  return sum
}
