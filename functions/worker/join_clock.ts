import { type Clock, systemClock } from '../../shared/base/clock.ts'

/** `delayMs` left out cancels. */
export interface TimerRequest {
  id: number
  delayMs?: number
}

/**
 * A clock whose timers keep running while the tab is in the background. Browsers hold a hidden page's timers back, down
 * to one a minute, and a relay drops a worker that is silent for 25 seconds; a Worker's timers are left alone.
 * @param url the bundled functions/worker/join_timer.ts
 */
export function backgroundClock(url: string): Clock {
  const timer = new Worker(url, { type: 'module', name: 'shoal-timer' })
  const tasks = new Map<number, () => void>()
  let lastId = 0
  timer.addEventListener('message', ({ data: id }: MessageEvent<number>) => {
    const task = tasks.get(id)
    tasks.delete(id)
    task?.()
  })
  return {
    now: systemClock.now,
    after(delayMs, task) {
      const id = ++lastId
      tasks.set(id, task)
      timer.postMessage({ id, delayMs } satisfies TimerRequest)
      return () => {
        if (tasks.delete(id)) timer.postMessage({ id } satisfies TimerRequest)
      }
    },
  }
}
