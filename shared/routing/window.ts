/** Parts of a window: what is oldest leaves it a tenth at a time. */
const PARTS = 10

/** Successes and failures of the last while. What is older is forgotten by time alone, whether or not more come. */
export class SlidingWindow {
  readonly #partMs: number
  readonly #successes = new Float64Array(PARTS)
  readonly #failures = new Float64Array(PARTS)
  /** Number of the part that is being filled, since time 0. */
  #part = -Infinity

  /** @param lengthMs of the whole window; between nine tenths and all of it count */
  constructor(lengthMs: number) {
    this.#partMs = lengthMs / PARTS
  }

  add(isSuccess: boolean, nowMs: number): void {
    this.#turn(nowMs)
    const counts = isSuccess ? this.#successes : this.#failures
    const at = this.#part % PARTS
    counts[at] = (counts[at] ?? 0) + 1
  }

  totals(nowMs: number): { calls: number; failures: number } {
    this.#turn(nowMs)
    const failures = sum(this.#failures)
    return { calls: sum(this.#successes) + failures, failures }
  }

  clear(): void {
    this.#successes.fill(0)
    this.#failures.fill(0)
  }

  /** Empties the parts that have begun since. A clock that goes back stays in the part it was in. */
  #turn(nowMs: number): void {
    const part = Math.floor(nowMs / this.#partMs)
    if (part <= this.#part) return
    for (let begun = Math.max(this.#part + 1, part - PARTS + 1); begun <= part; begun++) {
      this.#successes[begun % PARTS] = 0
      this.#failures[begun % PARTS] = 0
    }
    this.#part = part
  }
}

function sum(counts: Float64Array): number {
  let total = 0
  for (const count of counts) total += count
  return total
}
