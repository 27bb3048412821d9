import { DEFAULTS } from '../base/defaults.ts'

/** How long a lease is: several times what units took lately, so that a straggler is found and a slow device is not one. */
export class LeaseTimer {
  readonly #patience: number
  #typicalMs: number | undefined

  constructor(patience: number) {
    this.#patience = patience
  }

  observe(tookMs: number): void {
    const decay = DEFAULTS.trainingLeaseDecay
    this.#typicalMs = this.#typicalMs === undefined ? tookMs : this.#typicalMs * decay + tookMs * (1 - decay)
  }

  get leaseMs(): number {
    // At first, workers fetch the graph, the data and perhaps the runtime.
    if (this.#typicalMs === undefined) return DEFAULTS.trainingFirstLeaseMs * this.#patience
    const wantedMs = DEFAULTS.trainingLeaseFactor * this.#typicalMs
    return Math.min(DEFAULTS.trainingFirstLeaseMs, Math.max(DEFAULTS.trainingMinLeaseMs, wantedMs)) * this.#patience
  }

  /** When a call that has outlived its lease is given up. */
  get giveUpMs(): number {
    return Math.max(this.leaseMs, DEFAULTS.trainingFirstLeaseMs * this.#patience)
  }
}
