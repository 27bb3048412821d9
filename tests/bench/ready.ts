import process from 'node:process'

/** Tells the benchmark that a child process can be called, and where. It ends when the benchmark does. */
export function ready(port: number): void {
  process.once('disconnect', () => process.exit())
  process.send?.({ port })
}
