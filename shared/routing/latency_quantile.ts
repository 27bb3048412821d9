/** Each step is a tenth longer than the last, from 0.05 ms to over an hour. */
const STEP = 1.1
const LEAST_MS = 0.05
const STEPS = 192
/** When so many are counted, all counts are halved: the last thousand or so make the quantile. */
const MAX_COUNTED = 1_000
/** With fewer the tail is anybody's guess. */
const MIN_COUNTED = 50
/** How many more are counted before it is read again. */
const READ_EVERY = 16

/** A quantile of latencies, up to a tenth too long, never too short: at most 1 - share of what was counted took longer. */
export class LatencyQuantile {
  readonly #share: number
  readonly #counts = new Float64Array(STEPS)
  #counted = 0
  #sinceRead = 0
  #readMs: number | undefined

  /** @param share in (0, 1): 0.95 for p95 */
  constructor(share: number) {
    this.#share = share
  }

  add(latencyMs: number): void {
    const step = Math.ceil(Math.log(Math.max(latencyMs, LEAST_MS) / LEAST_MS) / Math.log(STEP))
    const at = Math.min(step, STEPS - 1)
    this.#counts[at] = (this.#counts[at] ?? 0) + 1
    this.#sinceRead++
    if (++this.#counted < MAX_COUNTED) return
    this.#counted = 0
    this.#counts.forEach((count, i) => this.#counted += this.#counts[i] = count / 2)
  }

  /** Milliseconds; undefined while too little is known. */
  get valueMs(): number | undefined {
    if (this.#counted < MIN_COUNTED) return this.#readMs
    if (this.#readMs === undefined || this.#sinceRead >= READ_EVERY) {
      this.#readMs = this.#read()
      this.#sinceRead = 0
    }
    return this.#readMs
  }

  #read(): number {
    let below = 0
    for (let at = 0; at < STEPS; at++) {
      below += this.#counts[at] ?? 0
      if (below >= this.#share * this.#counted) return LEAST_MS * STEP ** at
    }
    return LEAST_MS * STEP ** (STEPS - 1)
  }
}
