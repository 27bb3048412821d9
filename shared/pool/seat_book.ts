import { LIMITS } from '../base/limits.ts'
import { LinkedList } from '../base/linked_list.ts'
import type { WorkerLimits } from '../contracts/fields.ts'
import type { ModelRef } from '../contracts/pool.ts'
import { leastOf, shortageOf, wordsOf } from './capacity.ts'
import type { Run } from './run.ts'
import { mayRun, type Seat } from './seat.ts'

/** All seats, and those among them that may be given a run right now. */
export class SeatBook {
  readonly #seats = new Map<string, Seat>()
  /** Nothing in flight; the longest idle first. Those with a real GPU apart. */
  readonly #idleGpus = new LinkedList<Seat>()
  readonly #idle = new LinkedList<Seat>()
  /** One run computing, room for the next; the longest computing first. */
  readonly #computing = new LinkedList<Seat>()
  /** Runs that wait behind another, in the order they were sent. */
  readonly #behind = new LinkedList<Run>()
  /** Seats that may be given a run, the best first: idle ones with a real GPU, other idle ones, those with room for one more. */
  readonly groups: readonly LinkedList<Seat>[] = [this.#idleGpus, this.#idle, this.#computing]
  /** Seats that are not draining, and those of them that are no volunteer's. */
  usable = 0
  #trusted = 0
  /** What none of them is too small for. */
  #least: WorkerLimits = {}
  /** Models called lately that some are too small for, the longest known first. */
  readonly #large = new Map<string, ModelRef>()
  /** Whether any seat is barred from any model. */
  #bars = false

  get size(): number {
    return this.#seats.size
  }

  /** Seats with nothing to do. */
  get idle(): number {
    return this.#idleGpus.size + this.#idle.size
  }

  get(id: string): Seat | undefined {
    return this.#seats.get(id)
  }

  add(seat: Seat): void {
    this.remove(seat.worker.id)
    this.#seats.set(seat.worker.id, seat)
    this.#count(seat, 1)
    this.#place(seat)
  }

  remove(id: string): Seat | undefined {
    const seat = this.#seats.get(id)
    if (!seat) return undefined
    this.#seats.delete(id)
    if (!seat.draining) this.#count(seat, -1)
    seat.wake()
    this.#place(seat)
    for (const run of seat.runs.slice(1)) {
      run.spared = true
      this.#forward(run)
    }
    return seat
  }

  drain(seat: Seat): void {
    if (seat.draining) return
    seat.draining = true
    this.#count(seat, -1)
    this.#place(seat)
  }

  report(seat: Seat, models: readonly string[], share: number): void {
    const loaded = new Set(models)
    for (const model of seat.models) if (!loaded.has(model)) seat.forget(model)
    for (const model of models) seat.models.add(model)
    seat.share = share
    this.#place(seat)
  }

  /** Keeps a seat out of the choice until `wake`. */
  rest(seat: Seat, cancel: () => void): void {
    seat.rest(cancel)
    this.#place(seat)
  }

  wake(seat: Seat): void {
    seat.wake()
    this.#place(seat)
  }

  take(seat: Seat, run: Run, nowMs: number): void {
    seat.take(run, nowMs)
    if (seat.runs.length > 1) run.behind = this.#behind.add(run)
    this.#place(seat)
  }

  release(run: Run, nowMs: number): void {
    run.over = true
    const { seat } = run
    seat.release(run, nowMs)
    this.#forward(run)
    const [first] = seat.runs
    if (first) this.#forward(first)
    this.#place(seat)
  }

  /** Whether any seat may be given a run. */
  get available(): boolean {
    return this.#idleGpus.size + this.#idle.size + this.#computing.size > 0
  }

  /** All seats, those included that take nothing now. */
  get all(): Iterable<Seat> {
    return this.#seats.values()
  }

  /** The longest-sent run that waits behind another. */
  get waitingRun(): Run | undefined {
    return this.#behind.first
  }

  /**
   * The longest-sent run that waits behind another and that `seat` would start sooner: `seat` is idle, or has answered
   * a run that was sent later.
   */
  overdue(seat: Seat): Run | undefined {
    for (const run of this.#behind) {
      if (run.seat !== seat && mayRun(seat, run.calls[0]?.model)) {
        return seat.runs.length === 0 || run.number < seat.lastAnswered ? run : undefined
      }
    }
    return undefined
  }

  /** Whether any seat may be given a call of this model, now or when it has finished what it has. */
  hasFor(model: ModelRef): boolean {
    if ((model.public ? this.usable : this.#trusted) === 0) return false
    const isLarge = shortageOf(this.#least, model) !== undefined
    if (isLarge) this.#noteLarge(model)
    else if (!this.#bars) return true
    for (const seat of this.#seats.values()) if (!seat.draining && mayRun(seat, model)) return true
    return false
  }

  /** Models that were called and are not given to this one, and why. */
  refusedBy({ worker, barred }: Seat): { model: string; reason: string }[] {
    const refused = [...barred].map(([model, reason]) => ({ model, reason: `computes it wrong: ${reason}` }))
    for (const model of this.#large.values()) {
      const shortage = shortageOf(worker.limits, model)
      if (shortage) refused.push({ model: model.sha256, reason: `too large: ${wordsOf(shortage)}` })
    }
    return refused
  }

  /** Gives a seat no more calls of a model. */
  bar(seat: Seat, model: string, reason: string): void {
    seat.barred.set(model, reason)
    this.#bars = true
  }

  /** Idle seats that may be given a run of this model, those first that have it loaded. */
  idleFor(model: ModelRef): Seat[] {
    const seats = [...this.#idleGpus, ...this.#idle].filter((seat) => mayRun(seat, model))
    return seats.sort((a, b) => Number(b.models.has(model.sha256)) - Number(a.models.has(model.sha256)))
  }

  /** Whether any seat may be given a run of this model right now. */
  hasFreeFor(model: ModelRef): boolean {
    for (const group of this.groups) for (const seat of group) if (mayRun(seat, model)) return true
    return false
  }

  #noteLarge(model: ModelRef): void {
    this.#large.set(model.sha256, model)
    const [first] = this.#large.keys()
    if (this.#large.size > LIMITS.maxRefusedModels && first !== undefined) this.#large.delete(first)
  }

  #count({ worker }: Seat, by: 1 | -1): void {
    this.usable += by
    if (!worker.volunteer) this.#trusted += by
    const usable = [...this.#seats.values()].filter(({ draining }) => !draining)
    this.#bars = usable.some(({ barred }) => barred.size > 0)
    if (worker.limits) this.#least = leastOf(usable.map(({ worker }) => worker.limits))
  }

  /** Nothing is before the run on its worker any more. */
  #forward(run: Run): void {
    if (run.behind) this.#behind.remove(run.behind)
    run.behind = undefined
  }

  #place(seat: Seat): void {
    const list = this.#listOf(seat)
    if (seat.place?.list === list) return
    seat.place?.list.remove(seat.place.link)
    seat.place = list && { list, link: list.add(seat) }
  }

  #listOf(seat: Seat): LinkedList<Seat> | undefined {
    if (seat.draining || seat.resting || this.#seats.get(seat.worker.id) !== seat) return undefined
    if (seat.runs.length === 0) return seat.worker.accelerated ? this.#idleGpus : this.#idle
    return seat.runs.length === 1 && seat.prefetches && seat.share === 1 ? this.#computing : undefined
  }
}
