import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { Log } from '../base/log.ts'
import { fullJitterMs, jitter, type Random } from '../base/random.ts'
import type { ElectionStore } from '../stores/election_store.ts'
import { RpcError } from '../wire/errors.ts'

/** A time of leading. Reading either property looks at the clock first: see `signal`. */
export interface Term extends AsyncDisposable {
  /** Fencing token: higher than that of every term before. Whatever the leader writes carries it. */
  readonly epoch: number
  /**
   * Aborts before the lease can pass to another. A process that was paused beyond its lease finds it aborted when it
   * reads this property, even if no timer has had its turn yet; so read it from the term before each step of the work.
   */
  readonly signal: AbortSignal
  /** Stops leading at once, and lets others lead as soon as the store hears of it. Never rejects. */
  resign(): Promise<void>
}

export interface CampaignClocks {
  clock: Clock
  wall: Pick<Clock, 'now'>
}

interface Instant {
  atMs: number
  wallMs: number
}

/** Now, by both clocks. */
export function instantOf({ clock, wall }: CampaignClocks): Instant {
  return { atMs: clock.now(), wallMs: wall.now() }
}

export interface TermDeps {
  store: Pick<ElectionStore, 'renew' | 'resign'>
  name: string
  candidate: string
  ttlMs: number
  clocks: CampaignClocks
  random: Random
  log: Log
  /** Ends the term with the campaign. */
  signal: AbortSignal
}

/** Renews a term's lease for as long as that succeeds, and ends the term in time when it does not. */
export class HeldTerm implements Term {
  readonly #deps: TermDeps
  readonly #epoch: number
  readonly #controller = new AbortController()
  /** How long after sending a renewal its lease is counted on. */
  readonly #trustMs: number
  /** When the latest confirmed renewal was sent: the lease began no earlier. */
  #confirmed: Instant
  #failures = 0
  #nextBeatAtMs = Infinity
  #cancelEnd = () => {}
  #cancelBeat = () => {}
  readonly #onCampaignEnd = () => void this.resign()

  /** @param sentAt when the store was asked for the term */
  constructor(deps: TermDeps, epoch: number, sentAt: Instant) {
    this.#deps = deps
    this.#epoch = epoch
    this.#trustMs = deps.ttlMs * (1 - DEFAULTS.electionMargin)
    this.#confirmed = sentAt
    if (this.#look()) return
    this.#endInTime()
    this.#beatBy(this.#pauseMs())
    deps.signal.addEventListener('abort', this.#onCampaignEnd, { once: true })
    if (deps.signal.aborted) void this.resign()
  }

  get epoch(): number {
    this.#look()
    return this.#epoch
  }

  get signal(): AbortSignal {
    this.#look()
    return this.#controller.signal
  }

  async resign(): Promise<void> {
    this.#end('it resigned')
    await this.#release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.resign()
  }

  /** Ends the term if its time is over by either clock. @returns whether it has ended */
  #look(): boolean {
    if (!this.#controller.signal.aborted && this.#leftMs() <= 0) this.#end('its lease was not renewed in time')
    return this.#controller.signal.aborted
  }

  #leftMs(): number {
    const { atMs, wallMs } = instantOf(this.#deps.clocks)
    // A clock of the day that was set back says nothing; one that was set forward ends the term early, which is safe.
    return this.#trustMs - Math.max(atMs - this.#confirmed.atMs, wallMs - this.#confirmed.wallMs)
  }

  #endInTime(): void {
    this.#cancelEnd()
    this.#cancelEnd = this.#deps.clocks.clock.after(this.#leftMs(), () => {
      if (!this.#look()) this.#endInTime()
    })
  }

  /** Sees to it that the next renewal is sent within `waitMs`. */
  #beatBy(waitMs: number): void {
    const { clock } = this.#deps.clocks
    const atMs = clock.now() + waitMs
    if (atMs >= this.#nextBeatAtMs) return
    this.#nextBeatAtMs = atMs
    this.#cancelBeat()
    this.#cancelBeat = clock.after(waitMs, () => void this.#beat())
  }

  async #beat(): Promise<void> {
    if (this.#look()) return
    const { store, name, candidate, ttlMs, clocks, random, log } = this.#deps
    const sentAt = instantOf(clocks)
    this.#nextBeatAtMs = Infinity
    // The next one does not wait for this one's answer, which may never come.
    this.#beatBy(this.#pauseMs())
    let renewed: boolean
    try {
      renewed = await store.renew(name, candidate, this.#epoch, ttlMs)
    } catch (thrown) {
      if (this.#look()) return
      log('warn', 'renewing the term failed', { name, epoch: this.#epoch, reason: String(thrown) })
      const backOff = { baseMs: DEFAULTS.reconnectBaseMs, capMs: ttlMs / 3 }
      return this.#beatBy(fullJitterMs(this.#failures++, backOff, random))
    }
    // Looked at before the answer is: one that comes after the time was over revives nothing.
    const ended = this.#look()
    if (!renewed) return this.#end("its lease is another's")
    if (ended) return await this.#release()
    this.#failures = 0
    // Answers may overtake each other.
    if (sentAt.atMs <= this.#confirmed.atMs) return
    this.#confirmed = sentAt
    this.#endInTime()
  }

  #pauseMs(): number {
    return jitter(this.#deps.ttlMs / 3, DEFAULTS.beatJitter, this.#deps.random)
  }

  /** Gives back a lease that is of no more use. */
  async #release(): Promise<void> {
    const { store, name, candidate, log } = this.#deps
    try {
      await store.resign(name, candidate, this.#epoch)
    } catch (thrown) {
      log('warn', 'resigning failed; the lease will run out', { name, epoch: this.#epoch, reason: String(thrown) })
    }
  }

  #end(why: string): void {
    if (this.#controller.signal.aborted) return
    this.#cancelEnd()
    this.#cancelBeat()
    this.#deps.signal.removeEventListener('abort', this.#onCampaignEnd)
    const { name } = this.#deps
    this.#controller.abort(
      new RpcError('aborted', `Cannot go on leading "${name}": epoch ${this.#epoch} is over (${why})`),
    )
  }
}
