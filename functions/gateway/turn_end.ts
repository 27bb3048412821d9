/** In this order: who is asked works while answers are written. */
type Phase = 'requests' | 'answers'

/**
 * The end of the event loop's turn, after all that the system had for it. Writes to sockets wait for it: each may wake the
 * process at the other end, unless that is still awake for the one before. Together, a gateway makes a tenth more calls.
 */
export class TurnEnd {
  readonly #tasks: Record<Phase, (() => void)[]> = { requests: [], answers: [] }
  #isAwaited = false

  add(phase: Phase, task: () => void): void {
    this.#tasks[phase].push(task)
    if (this.#isAwaited) return
    this.#isAwaited = true
    setImmediate(() => this.#run())
  }

  #run(): void {
    this.#isAwaited = false
    const { requests, answers } = this.#tasks
    for (const task of requests.splice(0)) task()
    for (const task of answers.splice(0)) task()
  }
}

/** Things of one kind to do at a turn's end, in their order. */
export class TurnBatch<T> {
  readonly #turn: TurnEnd
  readonly #phase: Phase
  readonly #do: (item: T) => void
  readonly #doAll = () => this.#flush()
  #items: T[] = []

  constructor(turn: TurnEnd, phase: Phase, action: (item: T) => void) {
    this.#turn = turn
    this.#phase = phase
    this.#do = action
  }

  add(item: T): void {
    if (this.#items.push(item) === 1) this.#turn.add(this.#phase, this.#doAll)
  }

  /** @returns whether it was there, and so will not be done */
  remove(item: T): boolean {
    const at = this.#items.indexOf(item)
    if (at >= 0) this.#items.splice(at, 1)
    return at >= 0
  }

  /** Takes out all that is not done. */
  clear(): T[] {
    return this.#items.splice(0)
  }

  #flush(): void {
    const items = this.#items
    this.#items = []
    for (const item of items) this.#do(item)
  }
}
