import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../base/limits.ts'
import { invalid, RpcError } from '../wire/errors.ts'

/** What is used of a parent's AbortSignal: a runtime's own request need not make one to tell that its caller has gone. */
export interface Cancellation {
  readonly aborted: boolean
  readonly reason: unknown
  addEventListener(type: 'abort', listener: () => void, options?: { once: boolean }): void
  removeEventListener(type: 'abort', listener: () => void): void
}

const DEADLINE = Symbol('deadline')
/** Known by the signal and not by the request: requests are copied, with other signals too. */
type SignalOfDeadline = Cancellation & { [DEADLINE]?: Deadline }

/**
 * Time-out and cancellation as one thing: `signal` aborts when the time is over, when `parent` aborts, or when
 * `cancel` is called. Always dispose of it, or its timer and its listener on the parent outlive the call.
 */
export class Deadline implements Disposable {
  readonly #controller = new AbortController()
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #endsAtMs: number
  readonly #parent: Cancellation | undefined
  readonly #onParentAbort: (() => void) | undefined
  #cancelTimer: (() => void) | undefined
  #ended = false
  /** Called after the signal's own listeners, once. */
  #listeners: (() => void)[] | undefined

  /**
   * @param timeoutMs above 0; what is beyond `LIMITS.maxTimeoutMs` is cut to it
   * @param timer `later` where `start` is called once what cannot wait is done
   * @throws RpcError `invalid_argument` for any other number
   */
  constructor(clock: Clock, timeoutMs: number, parent?: Cancellation, timer: 'now' | 'later' = 'now') {
    if (!(timeoutMs > 0)) throw invalid(`Cannot make the call: timeoutMs must be above 0, got ${timeoutMs}`)
    this.#timeoutMs = Math.min(timeoutMs, LIMITS.maxTimeoutMs)
    ;(this.#controller.signal as SignalOfDeadline)[DEADLINE] = this
    this.#clock = clock
    this.#endsAtMs = clock.now() + this.#timeoutMs
    this.#parent = parent
    if (parent) {
      this.#onParentAbort = () => this.cancel(abortError(parent.reason))
      if (parent.aborted) this.#onParentAbort()
      else listen(parent, this.#onParentAbort)
    }
    if (timer === 'now') this.#startTimer(this.#timeoutMs)
  }

  /** Starts the timer, unless it is all over. The time counts from the beginning. */
  start(): void {
    this.#startTimer(this.remainingMs)
  }

  #startTimer(delayMs: number): void {
    if (this.#ended || this.#cancelTimer) return
    this.#cancelTimer = this.#clock.after(delayMs, () => this.cancel(deadlineExceeded(this.#timeoutMs)))
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** From the beginning. */
  get timeoutMs(): number {
    return this.#timeoutMs
  }

  get remainingMs(): number {
    return Math.max(0, this.#endsAtMs - this.#clock.now())
  }

  /** Aborts the signal. Nothing is left to wait for then, so timer and listener go at once. */
  cancel(reason: RpcError): void {
    this[Symbol.dispose]()
    if (this.#controller.signal.aborted) return
    this.#controller.abort(reason)
    for (let listener = this.#listeners?.shift(); listener; listener = this.#listeners?.shift()) listener()
  }

  listen(listener: () => void): void {
    if (this.#listeners) this.#listeners.push(listener)
    else this.#listeners = [listener]
  }

  unlisten(listener: () => void): void {
    const at = this.#listeners?.indexOf(listener) ?? -1
    if (at >= 0) this.#listeners?.splice(at, 1)
  }

  [Symbol.dispose](): void {
    this.#ended = true
    this.#cancelTimer?.()
    if (this.#parent && this.#onParentAbort) unlisten(this.#parent, this.#onParentAbort)
  }
}

/**
 * Calls `listener` once when `signal` aborts, which it must not have done yet. Each hop of a call listens and stops
 * listening: on a Deadline's signal that is a list's entry instead of an event listener, which costs several times as much.
 */
export function listen(signal: Cancellation, listener: () => void): void {
  const deadline = (signal as SignalOfDeadline)[DEADLINE]
  if (deadline) deadline.listen(listener)
  else signal.addEventListener('abort', listener, { once: true })
}

export function unlisten(signal: Cancellation, listener: () => void): void {
  const deadline = (signal as SignalOfDeadline)[DEADLINE]
  if (deadline) deadline.unlisten(listener)
  else signal.removeEventListener('abort', listener)
}

export function deadlineExceeded(timeoutMs: number): RpcError {
  return new RpcError('deadline_exceeded', `Cannot finish the call: its deadline of ${Math.round(timeoutMs)} ms passed`)
}

/** An abort reason as an RpcError: ours as it is, a time-out as `deadline_exceeded`, anything else as `canceled`. */
export function abortError(reason: unknown): RpcError {
  if (reason instanceof RpcError) return reason
  const known = RpcError.from(reason)
  return known.code === 'internal'
    ? new RpcError('canceled', 'Cannot finish the call: the caller cancelled it', { cause: reason })
    : known
}

/** Settles as `work` does, or rejects as soon as `signal` aborts; the work's late outcome is then ignored. */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(abortError(signal.reason))
    if (signal.aborted) onAbort()
    else listen(signal, onAbort)
    work.then((value) => {
      unlisten(signal, onAbort)
      resolve(value)
    }, (thrown) => {
      unlisten(signal, onAbort)
      reject(thrown)
    })
  })
}
