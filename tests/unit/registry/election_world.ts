import type { Clock } from '../../../shared/base/clock.ts'
import { type Random, seededRandom } from '../../../shared/base/random.ts'
import { terms } from '../../../shared/registry/campaign.ts'
import type { Term } from '../../../shared/registry/term.ts'
import type { ElectionStore } from '../../../shared/stores/election_store.ts'
import { openSqliteElections } from '../../../shared/stores/sqlite_election.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { VirtualTime } from '../virtual_time.ts'

/**
 * A few processes that campaign for one name over a bad network, in one seeded run: requests and answers are dropped or
 * delayed, processes are paused, clocks run at different rates, clocks of the day are set.
 */
export const TTL_MS = 3_000
const REQUEST_TIMEOUT_MS = 2_000
/** Between store and process clocks at most 8 % of a lease go missing: below DEFAULTS.electionMargin. */
const DRIFT = 0.04

/** A stretch in which a process, awake, believed itself the leader. */
export interface Reign {
  process: number
  epoch: number
  fromMs: number
  untilMs: number
}

/** The line between one process and the store. */
export interface Network {
  dropRate: number
  maxDelayMs: number
  down: boolean
}

export const SOUND: Network = { dropRate: 0, maxDelayMs: 20, down: false }

export class ElectionWorld {
  readonly clock = new VirtualTime(1_000_000)
  readonly reigns: Reign[] = []
  readonly store: ElectionStore
  readonly random: Random
  readonly processes: Process[]
  readonly #stop = new AbortController()
  readonly #running: Promise<void>[]
  /** Leaders resign of their own accord now and then. */
  restless = true

  constructor(seed: number, candidates: number) {
    this.random = seededRandom(seed)
    const rate = 1 + DRIFT * (2 * this.random() - 1)
    this.store = openSqliteElections(':memory:', { now: () => this.clock.now() * rate })
    this.processes = Array.from({ length: candidates }, (_, i) => new Process(this, i))
    this.#running = this.processes.map((process) => process.campaign(this.#stop.signal))
  }

  /** Leaders that are awake and have not been told to stop. */
  get leaders(): number {
    return this.processes.filter((process) => process.leads).length
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('the test is over'))
    for (let i = 0; i < 20; i++) await this.clock.advance(TTL_MS)
    await Promise.all(this.#running)
    await this.store.close()
  }
}

class Process implements Clock {
  readonly #world: ElectionWorld
  readonly #index: number
  readonly #rate: number
  #paused = false
  #waiting: (() => void)[] = []
  #wallOffsetMs = 0
  readonly network: Network = { ...SOUND }
  #term: Term | undefined
  #reign: Reign | undefined

  constructor(world: ElectionWorld, index: number) {
    this.#world = world
    this.#index = index
    this.#rate = 1 + DRIFT * (2 * world.random() - 1)
  }

  get leads(): boolean {
    return !this.#paused && this.#term !== undefined && !this.#term.signal.aborted
  }

  now(): number {
    return this.#world.clock.now() * this.#rate
  }

  after(delayMs: number, task: () => void): () => void {
    let cancelled = false
    const cancel = this.#world.clock.after(delayMs / this.#rate, () => this.run(() => cancelled || task()))
    return () => {
      cancelled = true
      cancel()
    }
  }

  /** Runs a callback of this process, once it is awake. */
  run(task: () => void): void {
    if (this.#paused) this.#waiting.push(task)
    else task()
  }

  /** As SIGSTOP does. */
  pause(): void {
    if (this.#paused) return
    this.#endReign()
    this.#paused = true
  }

  /** As SIGCONT does: whatever came meanwhile runs now, in any order. */
  wake(): void {
    if (!this.#paused) return
    this.#paused = false
    // The first thing that happens may be any callback of the leader's work.
    if (this.leads) this.#beginReign()
    const waiting = this.#waiting
    this.#waiting = []
    while (waiting.length > 0) {
      waiting.splice(Math.floor(this.#world.random() * waiting.length), 1)[0]?.()
    }
  }

  setWallClock(offsetMs: number): void {
    this.#wallOffsetMs = offsetMs
  }

  async campaign(signal: AbortSignal): Promise<void> {
    const wall = { now: () => this.#world.clock.now() + this.#wallOffsetMs }
    const options = { store: this.#remote(), name: 'trainer', ttlMs: TTL_MS, clock: this, wall, signal }
    try {
      for await (const term of terms({ ...options, random: this.#world.random })) await this.#lead(term)
    } catch (thrown) {
      if (!signal.aborted) throw thrown
    }
  }

  async #lead(term: Term): Promise<void> {
    this.#term = term
    if (this.leads) this.#beginReign()
    await new Promise<void>((resolve) => {
      const done = () => {
        cancel()
        this.#endReign()
        resolve()
      }
      const cancel = this.after((1 + 10 * this.#world.random()) * TTL_MS, () => this.#world.restless && done())
      if (term.signal.aborted) done()
      else term.signal.addEventListener('abort', done, { once: true })
    })
    this.#term = undefined
  }

  #beginReign(): void {
    const fromMs = this.#world.clock.now()
    this.#reign = { process: this.#index, epoch: this.#term?.epoch ?? 0, fromMs, untilMs: Infinity }
    this.#world.reigns.push(this.#reign)
  }

  #endReign(): void {
    if (this.#reign) this.#reign.untilMs = this.#world.clock.now()
    this.#reign = undefined
  }

  #remote(): ElectionStore {
    const { store } = this.#world
    return {
      acquire: (...args) => this.#request(() => store.acquire(...args)),
      renew: (...args) => this.#request(() => store.renew(...args)),
      resign: (...args) => this.#request(() => store.resign(...args)),
      close: () => Promise.resolve(),
    }
  }

  /** One request to the store and its answer, each of which may be late or lost. */
  #request<T>(ask: () => Promise<T>): Promise<T> {
    const { clock, random } = this.#world
    const { network } = this
    return new Promise((resolve, reject) => {
      this.after(REQUEST_TIMEOUT_MS, () => reject(new RpcError('unavailable', 'no answer')))
      const arrives = () => network.down || random() < network.dropRate ? undefined : random() * network.maxDelayMs
      const thereMs = arrives()
      if (thereMs === undefined) return
      clock.after(thereMs, () => {
        void ask().then((answer) => {
          const backMs = arrives()
          if (backMs !== undefined) clock.after(backMs, () => this.run(() => resolve(answer)))
        })
      })
    })
  }
}
