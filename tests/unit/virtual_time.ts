import type { Clock } from '../../shared/base/clock.ts'

interface Timer {
  atMs: number
  sequence: number
  task: (() => void) | undefined
}

/**
 * A clock for simulations: like FakeClock, for tens of thousands of timers. Between them promises settle, but nothing
 * that needs a turn of the event loop: browsers stretch each to 4 ms.
 */
export class VirtualTime implements Clock {
  /** A binary heap by time, then by order of setting. */
  readonly #heap: Timer[] = []
  #nowMs: number
  #sequence = 0
  #pending = 0

  constructor(startMs = 0) {
    this.#nowMs = startMs
  }

  now(): number {
    return this.#nowMs
  }

  /** Timers neither run nor cancelled. */
  get pending(): number {
    return this.#pending
  }

  after(delayMs: number, task: () => void): () => void {
    const timer: Timer = { atMs: this.#nowMs + Math.max(0, delayMs), sequence: this.#sequence++, task }
    this.#pending++
    this.#push(timer)
    return () => {
      if (timer.task) this.#pending--
      timer.task = undefined
    }
  }

  /** Moves time forward, as FakeClock does. */
  async advance(byMs: number): Promise<void> {
    await settle(100)
    await this.runUntil(this.#nowMs + byMs)
    await settle(100)
  }

  /** Runs every timer that is due by then, those that are set meanwhile included. */
  async runUntil(untilMs: number): Promise<void> {
    for (let timer = this.#heap[0]; timer && timer.atMs <= untilMs; timer = this.#heap[0]) {
      this.#pop()
      const { task } = timer
      if (!task) continue
      timer.task = undefined
      this.#pending--
      this.#nowMs = timer.atMs
      task()
      await settle()
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs)
  }

  #push(timer: Timer): void {
    const heap = this.#heap
    let at = heap.push(timer) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#isBefore(at, parent)) break
      this.#swap(at, parent)
      at = parent
    }
  }

  #pop(): void {
    const heap = this.#heap
    this.#swap(0, heap.length - 1)
    heap.pop()
    for (let at = 0;;) {
      let least = at
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < heap.length && this.#isBefore(child, least)) least = child
      }
      if (least === at) return
      this.#swap(at, least)
      at = least
    }
  }

  #isBefore(left: number, right: number): boolean {
    const [a, b] = [this.#heap[left], this.#heap[right]]
    if (!a || !b) return false
    return a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence)
  }

  #swap(left: number, right: number): void {
    const [a, b] = [this.#heap[left], this.#heap[right]]
    if (a && b) [this.#heap[left], this.#heap[right]] = [b, a]
  }
}

/** Lets promises settle that wait for no timer: chains of up to so many steps. */
export async function settle(steps = 40): Promise<void> {
  for (let i = 0; i < steps; i++) await undefined
}

/** Time between arrivals of a Poisson process, ms. */
export function exponentialMs(perSecond: number, random: () => number): number {
  return -Math.log(1 - random()) * 1000 / perSecond
}
