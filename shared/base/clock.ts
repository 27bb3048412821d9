/** Time as an argument: every policy takes a Clock, so tests drive it by hand. */
export interface Clock {
  /** Milliseconds. Only differences mean anything; never compared with another machine's clock. */
  now(): number
  /** Runs `task` once after `delayMs`. The returned function cancels it; cancelling twice is harmless. */
  after(delayMs: number, task: () => void): () => void
}

const ORIGIN_MS = performance.timeOrigin

export const systemClock: Clock = {
  now: () => ORIGIN_MS + performance.now(),
  after(delayMs, task) {
    const timer = setTimeout(task, delayMs)
    return () => clearTimeout(timer)
  },
}

/** Runs `task` again and again, `intervalMs` apart, until the returned function is called. */
export function every(clock: Clock, intervalMs: number, task: () => void): () => void {
  let cancel = () => {}
  const next = () => {
    cancel = clock.after(intervalMs, () => {
      next()
      task()
    })
  }
  next()
  return () => cancel()
}

/** Resolves after `delayMs`, or rejects with the signal's reason as soon as it aborts. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = () => {
      cancel()
      reject(signal?.reason)
    }
    const cancel = clock.after(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** Resolves when `work` has settled, however it ended, or after `limitMs`. */
export async function atMost(clock: Clock, limitMs: number, work: Promise<unknown>): Promise<void> {
  const limit = new AbortController()
  await Promise.race([work.catch(() => {}), sleep(clock, limitMs, limit.signal).catch(() => {})])
  limit.abort()
}

/** A clock that moves only when told to. */
export class FakeClock implements Clock {
  #nowMs: number
  #sequence = 0
  #timers: { atMs: number; sequence: number; task: () => void }[] = []

  constructor(startMs = 1_000_000) {
    this.#nowMs = startMs
  }

  now(): number {
    return this.#nowMs
  }

  after(delayMs: number, task: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), sequence: this.#sequence++, task }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer)
    }
  }

  /** Timers not yet run: a test that ends with some has leaked them. */
  get pending(): number {
    return this.#timers.length
  }

  /** Moves time forward, running due timers in order and letting promises settle between them. */
  async advance(byMs: number): Promise<void> {
    const untilMs = this.#nowMs + byMs
    for (;;) {
      await settle()
      const due = this.#timers
        .filter((timer) => timer.atMs <= untilMs)
        .sort((a, b) => a.atMs - b.atMs || a.sequence - b.sequence)[0]
      if (!due) break
      this.#timers = this.#timers.filter((timer) => timer !== due)
      this.#nowMs = Math.max(this.#nowMs, due.atMs)
      due.task()
    }
    this.#nowMs = untilMs
    await settle()
  }
}

/** Lets chains of already-resolved promises run: a macrotask drains the whole microtask queue. */
function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0))
}
