const SMALLEST_BITS = 4
/** 2^32 divided by the golden ratio: multiples of it lie far from each other, wherever a run of numbers begins. */
const SPREAD = 0x9e3779b1

/**
 * Calls by number, each in the first free slot from the one that its number names. At worst, with numbers chosen for it, a
 * lookup passes all calls of a socket: some microseconds.
 * Not a Map: one that grows and shrinks all the time leaves a chain of retired tables behind, each pointing at its
 * successor, so that short-lived calls are kept for the old generation's collector (4,000 bytes a call that survived). Not
 * an object either: with numbers as keys, setting and deleting take 0.2 µs of each call at each end, and here 0.02.
 */
export class CallTable<T> {
  #bits = SMALLEST_BITS
  /** 0 where a slot is free: no call has that number. At most half are taken. */
  #ids: number[] = new Array(1 << SMALLEST_BITS).fill(0)
  #entries: (T | undefined)[] = new Array(1 << SMALLEST_BITS).fill(undefined)
  #size = 0

  get size(): number {
    return this.#size
  }

  has(id: number): boolean {
    return this.#ids[this.#slotOf(id)] === id
  }

  get(id: number): T | undefined {
    return this.#entries[this.#slotOf(id)]
  }

  /** @param id above 0 */
  set(id: number, entry: T): void {
    const slot = this.#slotOf(id)
    this.#entries[slot] = entry
    if (this.#ids[slot] === id) return
    this.#ids[slot] = id
    if (++this.#size > 1 << (this.#bits - 1)) this.#resize(this.#bits + 1)
  }

  /** @returns whether it was there */
  delete(id: number): boolean {
    const ids = this.#ids
    const last = ids.length - 1
    let free = this.#slotOf(id)
    if (ids[free] !== id) return false
    // Those behind it move up where they would else not be found: a lookup ends at a free slot.
    for (let slot = (free + 1) & last; ids[slot] !== 0; slot = (slot + 1) & last) {
      const other = ids[slot] ?? 0
      if (((slot - this.#firstSlot(other)) & last) < ((slot - free) & last)) continue
      ids[free] = other
      this.#entries[free] = this.#entries[slot]
      free = slot
    }
    ids[free] = 0
    this.#entries[free] = undefined
    // What a burst took is given back.
    if (--this.#size === 0 && this.#bits > SMALLEST_BITS) this.#resize(SMALLEST_BITS)
    return true
  }

  keys(): number[] {
    return this.#ids.filter((id) => id !== 0)
  }

  values(): T[] {
    return this.#entries.filter((entry) => entry !== undefined)
  }

  #firstSlot(id: number): number {
    return Math.imul(id, SPREAD) >>> (32 - this.#bits)
  }

  /** Where it is, or the free slot where it would go. */
  #slotOf(id: number): number {
    const ids = this.#ids
    let slot = this.#firstSlot(id)
    while (ids[slot] !== id && ids[slot] !== 0) slot = (slot + 1) & (ids.length - 1)
    return slot
  }

  #resize(bits: number): void {
    const [ids, entries] = [this.#ids, this.#entries]
    this.#bits = bits
    this.#ids = new Array(1 << bits).fill(0)
    this.#entries = new Array(1 << bits).fill(undefined)
    this.#size = 0
    for (const [slot, id] of ids.entries()) if (id !== 0) this.set(id, entries[slot] as T)
  }
}
