/** A browser's dedicated Worker that keeps time: `{ id, delayMs }` is answered with `id` after so long. */
import type { TimerRequest } from './join_clock.ts'

const timers = new Map<number, number>()

addEventListener('message', ({ data: { id, delayMs } }: MessageEvent<TimerRequest>) => {
  clearTimeout(timers.get(id))
  timers.delete(id)
  if (delayMs === undefined) return
  const ring = () => {
    timers.delete(id)
    postMessage(id)
  }
  // In browsers a timer is a number; Node's types would have it an object.
  timers.set(id, setTimeout(ring, delayMs) as unknown as number)
})
