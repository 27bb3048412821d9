import { toHex } from './bytes.ts'

/** A uniform number in [0, 1), the shape of `Math.random`. */
export type Random = () => number

/** A seeded generator (mulberry32): the same seed gives the same run. Not for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** `value` spread evenly over ± `fraction`, so that beats of many instances do not line up. */
export function jitter(value: number, fraction: number, random: Random): number {
  return value * (1 + fraction * (2 * random() - 1))
}

/**
 * Full-jitter exponential back-off: uniform in [0, min(capMs, baseMs · 2^attempt)).
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
export function fullJitterMs(attempt: number, options: { baseMs: number; capMs: number }, random: Random): number {
  return random() * Math.min(options.capMs, options.baseMs * 2 ** Math.min(attempt, 30))
}

/** An unguessable id: 128 random bits in hex after a readable prefix. */
export function newId(prefix: string): string {
  return `${prefix}_${toHex(crypto.getRandomValues(new Uint8Array(16)))}`
}
