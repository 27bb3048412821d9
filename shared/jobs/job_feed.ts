/** News of jobs within one process: who waits for one hears at once, and need not ask the store so often. */
export class JobFeed {
  readonly #listeners = new Map<string, Set<() => void>>()

  tell(id: string): void {
    for (const listener of [...this.#listeners.get(id) ?? []]) listener()
  }

  /** @returns stops listening */
  listen(id: string, listener: () => void): () => void {
    const known = this.#listeners.get(id) ?? new Set()
    this.#listeners.set(id, known.add(listener))
    return () => {
      known.delete(listener)
      if (known.size === 0 && this.#listeners.get(id) === known) this.#listeners.delete(id)
    }
  }

  /** Jobs that are listened for. */
  get size(): number {
    return this.#listeners.size
  }
}
