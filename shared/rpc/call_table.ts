/**
 * Calls by number. Not a Map: one that grows and shrinks all the time leaves a chain of retired tables behind, each
 * pointing at its successor, so that short-lived calls are kept for the old generation's collector. Measured at 4,000 bytes
 * a call that survived with a Map, against 280.
 */
export class CallTable<T> {
  readonly #byId: Record<number, T> = Object.create(null)
  #size = 0

  get size(): number {
    return this.#size
  }

  has(id: number): boolean {
    return this.#byId[id] !== undefined
  }

  get(id: number): T | undefined {
    return this.#byId[id]
  }

  set(id: number, entry: T): void {
    if (this.#byId[id] === undefined) this.#size++
    this.#byId[id] = entry
  }

  /** @returns whether it was there */
  delete(id: number): boolean {
    if (this.#byId[id] === undefined) return false
    delete this.#byId[id]
    this.#size--
    return true
  }

  keys(): number[] {
    return Object.keys(this.#byId).map(Number)
  }

  values(): T[] {
    return Object.values(this.#byId)
  }
}
