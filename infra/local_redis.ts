/** A real Redis for tests and the local stack: on loopback, keeping nothing, gone with the process that started it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export interface LocalRedis {
  /** redis://127.0.0.1:PORT */
  url: string
  port: number
  pid: number
  /** Sends a signal. If it is one that ends the server, waits until it has ended. */
  kill(signal: NodeJS.Signals): Promise<void>
  /** Ends the server and removes its directory. */
  close(): Promise<void>
}

const START_TIMEOUT_MS = 10_000
/** Another process may take a free port between finding it and using it. */
const PORT_TRIES = 5
const INSTALL = 'install it, for example with "apt-get install redis-server"'

/** The path of redis-server, if it is installed. */
export function findRedisServer(path: string = process.env.PATH ?? ''): string | undefined {
  return path.split(delimiter).filter(Boolean).map((folder) => join(folder, 'redis-server')).find(isExecutable)
}

/**
 * Starts redis-server and waits until it answers.
 * @param options `port`: this one or none; without it, any free one. `args`: more of redis-server's own options
 * @throws Error if it is not installed, or does not start
 */
export async function startRedisServer(options: { port?: number; args?: string[] } = {}): Promise<LocalRedis> {
  const program = findRedisServer()
  if (!program) throw new Error(`Cannot start Redis: redis-server must be on PATH; ${INSTALL}`)
  for (let tries = 1;; tries++) {
    const port = options.port ?? await freePort()
    try {
      return await start(program, port, options.args ?? [])
    } catch (thrown) {
      if (options.port !== undefined || tries === PORT_TRIES) throw thrown
    }
  }
}

async function start(program: string, port: number, args: string[]): Promise<LocalRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'shoal-redis-'))
  const child = spawn(program, [
    ...['--port', String(port), '--bind', '127.0.0.1', '--dir', folder],
    ...['--save', '', '--appendonly', 'no', '--daemonize', 'no'],
    ...args,
  ], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (chunk: Uint8Array) => output = (output + chunk).slice(-2000))
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
  const endWithUs = () => child.kill('SIGKILL')
  process.once('exit', endWithUs)

  const close = async () => {
    // A stopped process ends only by SIGKILL; there is nothing to save.
    child.kill('SIGKILL')
    await exited
    process.off('exit', endWithUs)
    await rm(folder, { recursive: true, force: true })
  }
  const { pid } = child
  if (pid === undefined || !await answers(child, port)) {
    await close()
    throw new Error(`Cannot start Redis: it must answer on port ${port}, got:\n${output}`)
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    pid,
    async kill(signal) {
      child.kill(signal)
      if (signal !== 'SIGSTOP' && signal !== 'SIGCONT') await exited
    },
    close,
  }
}

async function answers(child: ChildProcess, port: number): Promise<boolean> {
  const giveUpMs = performance.now() + START_TIMEOUT_MS
  while (child.exitCode === null && child.signalCode === null && performance.now() < giveUpMs) {
    // The port may be another's, whose answer would deceive us; ours says its process id.
    if ((await ask(port, 'INFO server')).includes(`process_id:${child.pid}\r`)) return true
    await sleep(10)
  }
  return false
}

/** Asks by an inline command and gives the first piece of the answer, '' if there is none. */
function ask(port: number, command: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(`${command}\r\n`))
    socket.setTimeout(1000, () => socket.destroy())
    socket.once('data', (chunk) => {
      resolve(chunk.toString())
      socket.destroy()
    })
    socket.once('error', () => {})
    socket.once('close', () => resolve(''))
  })
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => {
        if (address && typeof address === 'object') resolve(address.port)
        else reject(new Error('Cannot find a free port: the system must give one, got none'))
      })
    })
  })
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
