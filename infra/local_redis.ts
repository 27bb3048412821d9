/** A real Redis for tests and the local stack: on loopback, keeping nothing, gone with the process that started it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

export interface LocalRedis extends AsyncDisposable {
  /** redis://127.0.0.1:PORT */
  url: string
  port: number
  pid: number
  /** Sends a signal. If it is one that ends the server, waits until it has ended. */
  kill(signal: NodeJS.Signals): Promise<void>
  /** Ends the server and removes its directory. */
  close(): Promise<void>
}

const START_TIMEOUT_MS = 30_000
/** Another process may take a free port between finding it and using it. */
const PORT_TRIES = 5
const READY = /Ready to accept connections/
const INSTALL = 'install it, for example with "apt-get install redis-server"'

/** The path of redis-server, if it is installed. */
export function findRedisServer(path: string = process.env.PATH ?? ''): string | undefined {
  return path.split(delimiter).filter(Boolean).map((folder) => join(folder, 'redis-server')).find(isExecutable)
}

/**
 * Starts redis-server and waits until it takes connections.
 * @param options `port`: this one or none; without it, any free one. `args`: more of redis-server's own options
 * @throws Error if it is not installed, or does not start
 */
export async function startRedisServer(options: { port?: number; args?: string[] } = {}): Promise<LocalRedis> {
  const program = findRedisServer()
  if (!program) throw new Error(`Cannot start Redis: redis-server must be on PATH; ${INSTALL}`)
  for (let tries = 1;; tries++) {
    const port = options.port ?? await freePort()
    const outcome = await start(program, port, options.args ?? [])
    if (typeof outcome !== 'string') return outcome
    if (options.port === undefined && tries < PORT_TRIES && outcome.includes('Address already in use')) continue
    throw new Error(`Cannot start Redis: it must get ready on port ${port}, got:\n${outcome}`)
  }
}

/** Starts it once. @returns what it printed if it did not get ready */
async function start(program: string, port: number, args: string[]): Promise<LocalRedis | string> {
  const folder = await mkdtemp(join(tmpdir(), 'shoal-redis-'))
  const child = spawn(program, [
    ...['--port', String(port), '--bind', '127.0.0.1', '--dir', folder],
    ...['--save', '', '--appendonly', 'no', '--daemonize', 'no', '--logfile', ''],
    ...args,
    // Its log goes to stdout; an inherited stderr would keep a pipe of ours open should it outlive us.
  ], { stdio: ['ignore', 'pipe', 'ignore'] })
  const exited = new Promise<void>((resolve) => {
    child.once('close', () => resolve()) // not 'exit': its last words come before this, perhaps after that
    child.once('error', () => resolve())
  })
  // Ends the server however this process ends: its pipe is closed then, and reading a line from it fails.
  const watchdog = spawn('sh', ['-c', `read line || kill -9 ${child.pid}`], { stdio: ['pipe', 'ignore', 'ignore'] })
  watchdog.stdin.on('error', () => {}) // it may have gone first, by a Ctrl-C that reached us all
  const close = async () => {
    // A stopped process ends only by SIGKILL; there is nothing to save.
    child.kill('SIGKILL')
    await exited
    watchdog.stdin.end('done\n')
    await rm(folder, { recursive: true, force: true })
  }
  const output = await untilReady(child, exited)
  const { pid } = child
  if (pid === undefined || !READY.test(output)) {
    await close()
    return output
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
    [Symbol.asyncDispose]: close,
  }
}

/** Waits until the server says it is ready, ends, or has had long enough. @returns what it printed */
async function untilReady(child: ChildProcess, exited: Promise<void>): Promise<string> {
  let output = ''
  let timer: NodeJS.Timeout | undefined
  const ready = new Promise<void>((resolve) => {
    child.stdout?.on('data', (chunk: Uint8Array) => {
      // The listener stays, since a full pipe would block the server; what it says later is not kept.
      if (READY.test(output)) return
      output += chunk
      if (READY.test(output)) resolve()
    })
  })
  const late = new Promise<void>((resolve) => timer = setTimeout(resolve, START_TIMEOUT_MS))
  await Promise.race([ready, exited, late])
  clearTimeout(timer)
  return output
}

/**
 * Ports below those that systems give out to whoever asks for any (on Linux from 32768 on): a server that is killed and
 * started again finds its port as it left it.
 */
const PORTS = { from: 20_000, count: 12_000 } as const

/** One that nobody listens on; another process may take it before it is used. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.from + Math.floor(Math.random() * PORTS.count)
    if (await isFree(port)) return port
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
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
