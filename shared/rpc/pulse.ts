import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'

export interface PulseOptions {
  clock: Clock
  ping(): void
  /** Two pings in a row were not answered. */
  onDead(): void
  /** Hears of each ping that is due, before it is sent. */
  onTick?(): void
}

/** Pings a socket that is otherwise silent, and tells when nobody answers. It beats until it is stopped. */
export class Pulse {
  readonly #options: PulseOptions
  #unanswered = 0
  #cancel = () => {}

  constructor(options: PulseOptions) {
    this.#options = options
    this.#wait()
  }

  /** The other side has answered. */
  pong(): void {
    this.#unanswered = 0
  }

  stop(): void {
    this.#cancel()
    this.#cancel = () => {}
  }

  #wait(): void {
    this.#cancel = this.#options.clock.after(DEFAULTS.pingIntervalMs, () => this.#beat())
  }

  #beat(): void {
    if (this.#unanswered === 2) return this.#options.onDead()
    this.#unanswered++
    this.#wait()
    // Last: whoever hears of it may stop the pulse.
    this.#options.ping()
    this.#options.onTick?.()
  }
}
