import process from 'node:process'

/** Runs `stop` on the first Ctrl-C or SIGTERM and exits 0 when it is done; a second signal exits at once. */
export function onStopSignal(stop: () => Promise<void>): void {
  let stopping = false
  const onSignal = () => {
    if (stopping) process.exit(130)
    stopping = true
    stop().then(() => process.exit(0), (error) => {
      console.error(`shoal: Cannot stop cleanly: ${error instanceof Error ? error.message : error}`)
      process.exit(1)
    })
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
}
