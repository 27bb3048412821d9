/** An entry's place in a list. Whoever keeps it can take the entry out again in constant time. */
export interface Link<T> {
  readonly value: T
  /** Undefined at the ends, and once it is out of its list. */
  previous: Link<T> | undefined
  next: Link<T> | undefined
  linked: boolean
}

/**
 * Entries in the order they were added, each taken out in constant time. For what comes and goes with every call, in
 * place of a Set: one that grows and shrinks all the time leaves a chain of retired tables behind, each pointing at its
 * successor, so that every call it ever held lives until the old generation is collected. A link that was taken out
 * points at nothing.
 */
export class LinkedList<T> implements Iterable<T> {
  #first: Link<T> | undefined
  #last: Link<T> | undefined
  #size = 0

  get size(): number {
    return this.#size
  }

  get first(): T | undefined {
    return this.#first?.value
  }

  add(value: T): Link<T> {
    const link: Link<T> = { value, previous: this.#last, next: undefined, linked: true }
    if (this.#last) this.#last.next = link
    else this.#first = link
    this.#last = link
    this.#size++
    return link
  }

  /** @returns whether the link was still in the list, which must be this one */
  remove(link: Link<T>): boolean {
    if (!link.linked) return false
    if (link.previous) link.previous.next = link.next
    else this.#first = link.next
    if (link.next) link.next.previous = link.previous
    else this.#last = link.previous
    link.previous = link.next = undefined
    link.linked = false
    this.#size--
    return true
  }

  /** Entries must not be taken out while they are gone through. */
  *[Symbol.iterator](): Generator<T> {
    for (let link = this.#first; link; link = link.next) yield link.value
  }
}
