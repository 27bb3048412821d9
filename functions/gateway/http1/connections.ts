import { type Clock, every } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { TurnBatch, type TurnEnd } from '../turn_end.ts'
import { Connection, type ConnectionOwner, type Endpoint, type Exchange } from './connection.ts'

export interface ConnectionsDeps {
  clock: Clock
  turn: TurnEnd
  /** Those that have connections are in it. */
  active: Set<Connections>
}

/**
 * Connections to one address: as many as requests are under way, kept for later ones as long as the other side keeps them.
 * The last that came to rest is asked first, so that those which the load no longer needs end.
 *
 * The other side may have ended a connection that rests, or have said something on it that would be taken for the next
 * answer, and this side not have looked yet. So a request is written to it at the end of the event loop's turn, when all
 * that had come by then was read, and not in the turn in which the connection came to rest.
 */
export class Connections implements ConnectionOwner {
  readonly #endpoint: Endpoint
  readonly #clock: Clock
  readonly #active: Set<Connections>
  readonly #all = new Set<Connection>()
  readonly #idle: Connection[] = []
  /** Came to rest in this turn. */
  readonly #resting: TurnBatch<Connection>
  /** Were each given a connection that had rested. */
  readonly #waiting: TurnBatch<Exchange>
  #endSweeps: (() => void) | undefined

  constructor(endpoint: Endpoint, { clock, turn, active }: ConnectionsDeps) {
    this.#endpoint = endpoint
    this.#clock = clock
    this.#active = active
    this.#waiting = new TurnBatch(turn, 'requests', (exchange) => this.#askRested(exchange))
    this.#resting = new TurnBatch(turn, 'requests', (connection) => {
      if (!connection.isEnded) this.#idle.push(connection)
    })
  }

  /** Sends a request; whoever waits for its answer is told, once, unless it is dropped. */
  ask(exchange: Exchange): void {
    const nowMs = this.#clock.now()
    for (let connection = this.#idle.pop(); connection; connection = this.#idle.pop()) {
      if (connection.idleUntilMs > nowMs) {
        exchange.connection = connection
        return this.#waiting.add(exchange)
      }
      connection.fail(new Error('it rested for long'))
    }
    this.#open(exchange)
  }

  /** Nobody waits for the answer any more: the other side learns of it by the connection's end, if it was asked at all. */
  drop(exchange: Exchange): void {
    const { connection } = exchange
    if (connection && this.#waiting.remove(exchange)) this.#resting.add(connection)
    else connection?.cut()
  }

  /** Ends them all. Who waits for an answer hears why. */
  close(): void {
    const cause = new Error('this side ends its connections')
    for (const exchange of this.#waiting.clear()) exchange.onFailed(cause, false)
    this.#idle.length = 0
    for (const connection of [...this.#all]) connection.fail(cause)
  }

  onIdle(connection: Connection, keptMs = DEFAULTS.upstreamIdleMs + DEFAULTS.upstreamIdleMarginMs): void {
    const restMs = keptMs - DEFAULTS.upstreamIdleMarginMs
    if (restMs <= 0) return connection.cut()
    connection.idleUntilMs = this.#clock.now() + Math.min(restMs, DEFAULTS.upstreamIdleCapMs)
    this.#resting.add(connection)
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

  #askRested(exchange: Exchange): void {
    const { connection } = exchange
    // Of one that has ended meanwhile nobody has read the request: it goes another way.
    if (!connection || connection.isEnded) this.#open(exchange)
    else connection.ask(exchange)
  }

  #open(exchange: Exchange): void {
    this.#all.add(new Connection(this.#endpoint, this.#clock, this, exchange))
    this.#active.add(this)
    this.#endSweeps ??= every(this.#clock, DEFAULTS.upstreamSweepMs, () => this.#sweep())
  }

  #sweep(): void {
    const nowMs = this.#clock.now()
    for (const connection of this.#idle.filter(({ idleUntilMs }) => idleUntilMs <= nowMs)) connection.cut()
  }
}
