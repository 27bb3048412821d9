import process from 'node:process'

/** One Ctrl-C may arrive twice: from the terminal, and handed on by npm or by the script that started this one. */
const SAME_KEYPRESS_MS = 500

/** Runs `stop` on the first Ctrl-C or SIGTERM and exits 0 when it is done; a second one exits at once. */
export function onStopSignal(stop: () => Promise<void>): void {
  let stoppingSinceMs: number | undefined
  const onSignal = () => {
    const nowMs = performance.now()
    if (stoppingSinceMs !== undefined) {
      if (nowMs - stoppingSinceMs > SAME_KEYPRESS_MS) process.exit(130)
      return
    }
    stoppingSinceMs = nowMs
    stop().then(() => process.exit(0), (error) => {
      console.error(`shoal: Cannot stop cleanly: ${error instanceof Error ? error.message : error}`)
      process.exit(1)
    })
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
}
