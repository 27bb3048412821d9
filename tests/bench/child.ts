import { type ChildProcess, fork } from 'node:child_process'

/** Starts a bench server in a process of its own and waits until it says which port it listens on. */
export async function startChild(
  file: string,
  args: readonly string[] = [],
): Promise<{ port: number; stop(): Promise<void> }> {
  const child: ChildProcess = fork(new URL(file, import.meta.url), args, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const port = await new Promise<number>((resolve, reject) => {
    child.once('message', (message) => resolve((message as { port: number }).port))
    child.once('exit', (code) => reject(new Error(`Cannot start ${file}: it ended with code ${code}`)))
  })
  return {
    port,
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', () => resolve())
        child.kill('SIGKILL')
      }),
  }
}
