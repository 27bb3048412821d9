import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { RpcError } from '../wire/errors.ts'
import { abortError } from './deadline.ts'
import { holding } from './held_stream.ts'
import type { Interceptor, RpcRequest, RpcResponse, Send } from './send.ts'

/** How much of one method a server does at once. */
export interface MethodLimit {
  /** Calls whose handlers run at the same time; a stream counts until it has ended. At least 1. */
  maxConcurrent: number
  /** Calls that wait for a place; none by default. The next one is shed. */
  maxQueued?: number
}

/** Part of a newer measurement in the average of how long calls hold their place. */
const NEWER_SHARE = 0.2

/**
 * A bulkhead: each method named here has so many places of its own and a bounded queue before them, so that a slow method
 * takes neither memory nor handlers from the others. What does not fit is shed at once with `resource_exhausted`, and so is
 * a call whose time would be over before its turn; both say from the measured pace when it is worth trying again.
 * Methods that are not named are not touched.
 */
export function bulkhead(limits: Readonly<Record<string, MethodLimit | undefined>>, clock: Clock): Interceptor {
  const compartments = new Map<string, Compartment>()
  for (const [method, limit] of Object.entries(limits)) {
    if (limit) compartments.set(method, new Compartment(method, limit, clock))
  }
  return (next) => (request) => compartments.get(request.method)?.run(next, request) ?? next(request)
}

interface Waiting {
  admit(): void
}

class Compartment {
  readonly #method: string
  readonly #maxConcurrent: number
  readonly #maxQueued: number
  readonly #clock: Clock
  readonly #queue = new Set<Waiting>()
  #running = 0
  /** How long a call holds its place, on average; 0 until one has ended. */
  #heldMs = 0

  constructor(method: string, { maxConcurrent, maxQueued = 0 }: MethodLimit, clock: Clock) {
    if (!(Number.isInteger(maxConcurrent) && maxConcurrent >= 1 && maxQueued >= 0)) {
      throw new RpcError(
        'invalid_argument',
        `Cannot limit ${method}: maxConcurrent must be a whole number from 1 and maxQueued from 0, got ${maxConcurrent} and ${maxQueued}`,
      )
    }
    this.#method = method
    this.#maxConcurrent = maxConcurrent
    this.#maxQueued = maxQueued
    this.#clock = clock
  }

  async run(next: Send, request: RpcRequest): Promise<RpcResponse> {
    if (this.#running < this.#maxConcurrent) this.#running++
    else await this.#wait(request)
    const leave = this.#enter()
    try {
      const response = await next(request)
      if (response.kind === 'stream') {
        return { ...response, payloads: holding(response.payloads, request.signal, leave) }
      }
      leave()
      return response
    } catch (thrown) {
      leave()
      throw thrown
    }
  }

  /** @returns gives the place to the next in the queue, once */
  #enter(): () => void {
    const enteredAtMs = this.#clock.now()
    let left = false
    return () => {
      if (left) return
      left = true
      const heldMs = this.#clock.now() - enteredAtMs
      this.#heldMs = this.#heldMs === 0 ? heldMs : this.#heldMs + NEWER_SHARE * (heldMs - this.#heldMs)
      const [first] = this.#queue
      // A place that is handed over stays taken: nobody who comes just now may slip in between.
      if (first) first.admit()
      else this.#running--
    }
  }

  #wait(request: RpcRequest): Promise<void> {
    const waitMs = this.#heldMs * (this.#queue.size + 1) / this.#maxConcurrent
    if (this.#queue.size >= this.#maxQueued) {
      throw this.#shed(waitMs, `${this.#running} calls run and ${this.#queue.size} wait`)
    }
    if (waitMs > request.timeoutMs) {
      throw this.#shed(waitMs, `its turn comes in ${Math.round(waitMs)} ms, and its time is over before`)
    }
    const { signal } = request
    if (signal.aborted) throw abortError(signal.reason)
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#queue.delete(waiting)
        reject(abortError(signal.reason))
      }
      const waiting: Waiting = {
        admit: () => {
          this.#queue.delete(waiting)
          signal.removeEventListener('abort', onAbort)
          resolve()
        },
      }
      this.#queue.add(waiting)
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  #shed(waitMs: number, reason: string): RpcError {
    return new RpcError('resource_exhausted', `Cannot call ${this.#method}: ${reason}`, {
      retryAfterMs: Math.min(Math.max(waitMs, DEFAULTS.retryAfterMs), DEFAULTS.retryAfterCapMs),
      neverSent: true,
    })
  }
}
