/** Between attempts while the gateway does not answer, at most. */
const MAX_PAUSE_MS = 30_000

/**
 * Runs `task` at once and then about every `intervalMs`, one at a time and only while the page is visible; coming back
 * to it runs the task at once. `task` says whether it went well, and must not reject: each time that it did not, the next
 * one waits twice as long.
 * @returns a function that runs it now
 */
export function pollWhileVisible(intervalMs: number, task: () => Promise<boolean>): () => void {
  let pauseMs = intervalMs
  let timer: ReturnType<typeof setTimeout> | undefined
  let running = false
  let again = false
  const run = async () => {
    clearTimeout(timer)
    if (running) {
      again = true
      return
    }
    running = true
    pauseMs = await task() ? intervalMs : Math.min(2 * pauseMs, MAX_PAUSE_MS)
    running = false
    if (again) {
      again = false
      return void run()
    }
    if (document.visibilityState === 'visible') timer = setTimeout(run, pauseMs)
  }
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') void run()
  })
  void run()
  return () => void run()
}
