import { DEFAULTS } from '../base/defaults.ts'
import { jitter, type Random } from '../base/random.ts'
import { SlidingWindow } from './window.ts'

export type BreakerState = 'closed' | 'open' | 'half_open'

/** A call that may go ahead. It is only of account in the period that it began in. */
export type Admission = number

/** `undefined`: it says nothing of the service, for its caller gave it up. */
export type CallOutcome = 'answered' | 'failed' | undefined

/**
 * Circuit breaker of a service. Closed: calls pass. When half of them failed, of at least 20 in the last ten seconds, it
 * opens, and calls are refused without being sent. After 5 s ± 20 % one call at a time is let through as a probe
 * (half-open): three that are answered in a row close it, one that fails opens it again. Source: Nygard, "Release It!".
 */
export class Breaker {
  readonly #random: Random
  readonly #onChange: (to: BreakerState) => void
  readonly #window = new SlidingWindow(DEFAULTS.breakerWindowMs)
  #state: BreakerState = 'closed'
  /** Rises with each change of state: outcomes of calls from before it are of no account. */
  #period: Admission = 0
  #opensAgainAtMs = 0
  #isProbing = false
  #probesAnswered = 0

  constructor(random: Random, onChange: (to: BreakerState) => void = () => {}) {
    this.#random = random
    this.#onChange = onChange
  }

  get state(): BreakerState {
    return this.#state
  }

  /** @returns undefined if the call must not be sent; else it is to be given back to `record`, exactly once */
  admit(nowMs: number): Admission | undefined {
    if (this.#state === 'closed') return this.#period
    if (this.#state === 'open') {
      if (nowMs < this.#opensAgainAtMs) return undefined
      this.#become('half_open')
    }
    if (this.#isProbing) return undefined
    this.#isProbing = true
    return this.#period
  }

  /** How long a caller should wait that was refused. */
  retryAfterMs(nowMs: number): number {
    return Math.max(this.#opensAgainAtMs - nowMs, DEFAULTS.breakerProbeWaitMs)
  }

  record(admission: Admission, outcome: CallOutcome, nowMs: number): void {
    if (admission !== this.#period) return
    if (this.#state === 'half_open') return this.#probed(outcome, nowMs)
    if (outcome === undefined) return
    this.#window.add(outcome === 'answered', nowMs)
    if (outcome === 'answered') return
    const { calls, failures } = this.#window.totals(nowMs)
    if (calls >= DEFAULTS.breakerMinCalls && failures >= calls * DEFAULTS.breakerFailureShare) this.#open(nowMs)
  }

  #probed(outcome: CallOutcome, nowMs: number): void {
    this.#isProbing = false
    if (outcome === 'failed') return this.#open(nowMs)
    if (outcome === undefined || ++this.#probesAnswered < DEFAULTS.breakerProbes) return
    this.#window.clear()
    this.#become('closed')
  }

  #open(nowMs: number): void {
    this.#opensAgainAtMs = nowMs + jitter(DEFAULTS.breakerOpenMs, DEFAULTS.breakerJitter, this.#random)
    this.#become('open')
  }

  #become(state: BreakerState): void {
    this.#state = state
    this.#period++
    this.#isProbing = false
    this.#probesAnswered = 0
    this.#onChange(state)
  }
}
