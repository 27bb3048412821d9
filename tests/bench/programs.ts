import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { installPackages } from '../../infra/install_packages.ts'
import { findOnPath, run } from '../../infra/tools.ts'

const FOLDER = import.meta.dirname
const READY_TIMEOUT_MS = 10_000

/** Installs the peers of tests/bench/package.json on first use. @returns why there are none, if so */
export function installPeers(): Promise<string | undefined> {
  return installPackages(FOLDER)
}

/** Where Debian puts servers, which is not on everybody's PATH. */
const PATHS = [process.env.PATH ?? '', '/usr/sbin', '/usr/local/sbin'].join(':')

/** The path of a Debian package's program of the same name, installed if that is possible. @throws Error saying how */
export async function findProgram(name: string): Promise<string> {
  const find = () => findOnPath([name], PATHS)
  if (!find() && process.getuid?.() === 0 && findOnPath(['apt-get'])) {
    console.log(`installing ${name}`)
    // Not as a service: the benchmark starts its own, on a free port of loopback.
    const env = { DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
    await run('apt-get', ['update', '-q'], 'capture', env)
    await run('apt-get', ['install', '-qy', '--no-install-recommends', name], 'capture', env)
  }
  const found = find()
  if (!found) {
    throw new Error(`${name} must be installed (Debian: apt-get install ${name})`)
  }
  return found
}

export interface Program {
  readonly pid: number
  /** What its output matched when it was ready. */
  readonly ready: RegExpExecArray
  stop(): Promise<void>
}

/** Starts a program and waits until its output matches. @throws Error with what it wrote, if it does not */
export async function startProgram(command: string, args: readonly string[], ready: RegExp): Promise<Program> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  // Ends it however this process ends: the pipe is closed then, and reading a line from it fails.
  const watchdog = spawn('sh', ['-c', `read line || kill ${child.pid}`], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  watchdog.stdin.on('error', () => {})
  const exited = new Promise<void>((resolve) => {
    child.once('close', () => resolve())
    child.once('error', () => resolve())
  })
  const stop = async () => {
    child.kill('SIGTERM')
    const patience = setTimeout(() => child.kill('SIGKILL'), READY_TIMEOUT_MS)
    await exited
    clearTimeout(patience)
    watchdog.stdin.end('done\n')
  }
  let output = ''
  const found = await new Promise<RegExpExecArray | null>((resolve) => {
    const timer = setTimeout(() => resolve(null), READY_TIMEOUT_MS)
    const read = (chunk: Uint8Array) => {
      output = (output + chunk).slice(-10_000)
      const match = ready.exec(output)
      if (match) resolve(match)
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    void exited.then(() => {
      clearTimeout(timer)
      resolve(null)
    })
  })
  if (found && child.pid !== undefined) {
    return { pid: child.pid, ready: found, stop }
  }
  await stop()
  throw new Error(`${command} did not start: ${output.trim().split('\n').at(-1) ?? ''}`)
}

/** A free port of loopback. Another process may take it before it is used. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => typeof address === 'object' && address ? resolve(address.port) : reject(new Error('no port')))
    })
  })
}

/** A folder that is removed at the end. */
export async function temporaryFolder(): Promise<
  { path: string; stop(): Promise<void> }
> {
  const path = await mkdtemp(join(tmpdir(), 'shoal-bench-'))
  return { path, stop: () => rm(path, { recursive: true, force: true }) }
}

/** NATS on a free port of loopback, for Moleculer. */
export async function startNats(): Promise<Program & { url: string }> {
  const args = ['-a', '127.0.0.1', '-p', '-1']
  const program = await startProgram(
    await findProgram('nats-server'),
    args,
    /client connections on (127\.0\.0\.1:\d+)[^]*ready/,
  )
  return { ...program, url: `nats://${program.ready[1]}` }
}
