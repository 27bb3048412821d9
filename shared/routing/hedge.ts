import type { Clock } from '../base/clock.ts'
import { abortError } from '../rpc/deadline.ts'
import { RpcError } from '../wire/errors.ts'

export interface HedgeOptions {
  clock: Clock
  /** The caller's: ends both. */
  signal: AbortSignal
  /** How long the first may take before a second is begun beside it. */
  delayMs: number
  /** Asked when that time is over. */
  mayHedge(): boolean
}

/** Begins the first or the second, and ends it when the signal aborts. */
export type HedgedAttempt<T> = (signal: AbortSignal, isSecond: boolean) => Promise<T>

/**
 * Makes a second attempt beside one that takes long, takes the answer that comes first and cancels the other. An attempt
 * that fails loses to one that is still under way; if both fail, the first one's error is thrown. A first attempt that
 * fails before the delay is over is thrown at once: to try again is the retry's to do.
 * Source: Dean and Barroso, "The Tail at Scale", 2013.
 */
export function hedge<T>({ clock, signal, delayMs, mayHedge }: HedgeOptions, attempt: HedgedAttempt<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const running = new Set<AbortController>()
    let firstError: unknown
    let hasFailed = false

    const end = (reason: RpcError) => {
      cancelTimer()
      signal.removeEventListener('abort', onAbort)
      for (const controller of running) controller.abort(reason)
    }
    const begin = (isSecond: boolean) => {
      const controller = new AbortController()
      running.add(controller)
      attempt(controller.signal, isSecond).then(
        (answer) => {
          running.delete(controller)
          resolve(answer)
          end(new RpcError('canceled', 'Cannot finish the attempt: another one was answered first'))
        },
        (error) => {
          running.delete(controller)
          if (!hasFailed) [hasFailed, firstError] = [true, error]
          if (running.size > 0) return
          reject(firstError)
          end(abortError(signal.reason))
        },
      )
    }
    const onAbort = () => {
      const reason = abortError(signal.reason)
      reject(reason)
      end(reason)
    }
    const cancelTimer = clock.after(delayMs, () => {
      if (running.size > 0 && mayHedge()) begin(true)
    })
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    begin(false)
  })
}
