/**
 * Runs `task` at once and then about every `intervalMs`, one at a time and only while the page is visible; coming back
 * to it runs the task at once. `task` must not reject.
 * @returns a function that runs it now
 */
export function pollWhileVisible(intervalMs: number, task: () => Promise<void>): () => void {
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
    await task()
    running = false
    if (again) {
      again = false
      return void run()
    }
    if (document.visibilityState === 'visible') timer = setTimeout(run, intervalMs)
  }
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') void run()
  })
  void run()
  return () => void run()
}
