import { type Clock, every } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { Connection, type ConnectionOwner, type Endpoint, type Exchange } from './connection.ts'

const SWEEP_MS = 1_000

/**
 * Connections to one address: as many as requests are under way, kept for later ones as long as the other side keeps them.
 * The last that came to rest is asked first, so that those which the load no longer needs end.
 */
export class Connections implements ConnectionOwner {
  readonly #endpoint: Endpoint
  readonly #clock: Clock
  readonly #active: Set<Connections>
  readonly #all = new Set<Connection>()
  readonly #idle: Connection[] = []
  #endSweeps: (() => void) | undefined

  /** @param active this is among them while it has connections */
  constructor(endpoint: Endpoint, clock: Clock, active: Set<Connections>) {
    this.#endpoint = endpoint
    this.#clock = clock
    this.#active = active
  }

  /** @returns the connection that carries the exchange, to be cut while that is under way and not later */
  ask(exchange: Exchange): Connection {
    const nowMs = this.#clock.now()
    for (let resting = this.#idle.pop(); resting; resting = this.#idle.pop()) {
      if (resting.idleUntilMs > nowMs) {
        resting.ask(exchange)
        return resting
      }
      resting.cut()
    }
    const connection = new Connection(this.#endpoint, this.#clock, this, exchange)
    this.#all.add(connection)
    this.#active.add(this)
    this.#endSweeps ??= every(this.#clock, SWEEP_MS, () => this.#sweep())
    return connection
  }

  /** Ends them all. Who waits for an answer hears why. */
  close(): void {
    for (const connection of [...this.#all]) connection.fail(new Error('this side ends its connections'))
  }

  onIdle(connection: Connection, keptMs = DEFAULTS.upstreamIdleMs + DEFAULTS.upstreamIdleMarginMs): void {
    const restMs = keptMs - DEFAULTS.upstreamIdleMarginMs
    if (restMs <= 0) return connection.cut()
    connection.idleUntilMs = this.#clock.now() + Math.min(restMs, DEFAULTS.upstreamIdleCapMs)
    this.#idle.push(connection)
  }

  onEnded(connection: Connection): void {
    this.#all.delete(connection)
    const at = this.#idle.indexOf(connection)
    if (at >= 0) this.#idle.splice(at, 1)
    if (this.#all.size > 0) return
    this.#active.delete(this)
    this.#endSweeps?.()
    this.#endSweeps = undefined
  }

  #sweep(): void {
    const nowMs = this.#clock.now()
    for (const connection of this.#idle.filter(({ idleUntilMs }) => idleUntilMs <= nowMs)) connection.cut()
  }
}
