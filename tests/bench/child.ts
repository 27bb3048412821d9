import { type ChildProcess, fork } from 'node:child_process'

/** A process that the benchmark started. Whoever starts it stops it. */
export interface Child {
  readonly port: number
  readonly pid: number
  /** Sends a message and resolves with the next one that comes back. */
  ask<T>(message: unknown): Promise<T>
  /** Ends it at once, as a crash would. */
  kill(): void
  stop(): Promise<void>
}

export interface ChildOptions {
  env?: Readonly<Record<string, string>>
  /** Throws away what it prints. */
  quiet?: boolean
  /** Options of its Node. */
  execArgv?: readonly string[]
}

const START_TIMEOUT_MS = 30_000
const STOP_TIMEOUT_MS = 2_000

/** Starts a bench server in a process of its own and waits until it says which port it listens on. */
export async function startChild(
  file: string,
  args: readonly string[] = [],
  options: ChildOptions = {},
): Promise<Child> {
  const output = options.quiet ? 'ignore' : 'inherit'
  const child: ChildProcess = fork(new URL(file, import.meta.url), args, {
    stdio: ['ignore', output, output, 'ipc'],
    env: { ...process.env, ...options.env },
    execArgv: [...options.execArgv ?? []],
  })
  const stop = () =>
    new Promise<void>((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) return resolve()
      const patience = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
      child.once('exit', () => {
        clearTimeout(patience)
        resolve()
      })
      // It ends by itself when nobody is there to talk to; see ready.ts.
      if (child.connected) child.disconnect()
    })
  const next = <T>() =>
    new Promise<T>((resolve, reject) => {
      const onExit = (code: number | null) => reject(new Error(`Cannot go on with ${file}: it ended with code ${code}`))
      child.once('exit', onExit)
      child.once('message', (message) => {
        child.off('exit', onExit)
        const { failure } = message as { failure?: string }
        return failure === undefined ? resolve(message as T) : reject(new Error(failure))
      })
    })
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const reason = `Cannot start ${file} ${args.join(' ')}: it must be ready within ${START_TIMEOUT_MS} ms`
    timer = setTimeout(() => reject(new Error(reason)), START_TIMEOUT_MS)
  })
  try {
    const { port } = await Promise.race([next<{ port: number }>(), late])
    return {
      port,
      pid: child.pid ?? -1,
      stop,
      kill: () => void child.kill('SIGKILL'),
      ask(message) {
        const answer = next<never>()
        child.send(message as object)
        return answer
      },
    }
  } catch (thrown) {
    await stop()
    throw thrown
  } finally {
    clearTimeout(timer)
  }
}

/** Stops all of them, whatever else went wrong. */
export async function stopAll(started: readonly { stop(): Promise<void> }[]): Promise<void> {
  await Promise.all(started.map((one) => one.stop()))
}
