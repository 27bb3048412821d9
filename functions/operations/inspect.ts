import process from 'node:process'
import { readlink } from 'node:fs/promises'
import { basename } from 'node:path'
import { sleep, systemClock } from '../../shared/base/clock.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { CpuProfile } from './cpu_profile.ts'
import type { ProcessReport } from './process_report.ts'
import { listeningPorts, systemView } from './proc.ts'

/** How long an inspector may take to open, and a process to answer before it counts as stuck. */
const OPEN_MS = 5_000
const ANSWER_MS = 2_000
const POLL_MS = 50
/** Where Node's inspector listens unless it is told otherwise. */
const DEFAULT_PORT = 9229

/** Another Node process, looked into through its inspector. Its JavaScript need not yield: V8 interrupts it. */
export interface Inspected {
  /** Its report; undefined if it is not Shoal's, or runs no JavaScript at all. */
  report(): Promise<ProcessReport | undefined>
  /** Whether its event loop turns. */
  turns(): Promise<boolean>
  /** Frees what nobody holds, so that what is left is held. */
  collectGarbage(): Promise<void>
  /**
   * What it is doing at this moment, innermost call first, as `name file:line`; undefined if it runs no JavaScript. A
   * profile cannot tell where a loop that began before it is: V8 names no code that was optimized by then.
   */
  stack(): Promise<string[] | undefined>
  cpuProfile(ms: number): Promise<CpuProfile>
  /** @param write hears the snapshot's text, part by part */
  heapSnapshot(write: (part: string) => void): Promise<void>
  /** Closes the inspector, where the process can still be told to. */
  close(): Promise<void>
}

/**
 * Opens the inspector of a Node process of this machine and user by SIGUSR1, which a thread of its own answers: it works
 * while the event loop is blocked.
 * @throws RpcError `not_found`, `failed_precondition` where the process is no Node's, `unavailable` if none opens
 */
export async function inspectProcess(pid: number): Promise<Inspected> {
  await assertNode(pid)
  const before = await portsOf(pid)
  const known = await inspectorAmong(before.filter((port) => port === DEFAULT_PORT))
  if (known === undefined) process.kill(pid, 'SIGUSR1')
  const url = known ?? await waitForInspector(pid, before.filter((port) => port !== DEFAULT_PORT))
  const socket = new WebSocket(url)
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve())
    socket.addEventListener('error', () => reject(new RpcError('unavailable', `Cannot inspect ${pid}: ${url} is shut`)))
  })
  const session = new InspectorSession(socket)
  const evaluate = async <T>(expression: string, awaitPromise = false): Promise<T | undefined> => {
    const answer = session.call<{ result: { value?: T } }>('Runtime.evaluate', {
      expression,
      awaitPromise,
      returnByValue: true,
    })
    const late = sleep(systemClock, ANSWER_MS).then(() => undefined)
    return (await Promise.race([answer, late]))?.result.value
  }
  return {
    report: () => evaluate<ProcessReport>(`globalThis[Symbol.for('shoal.report')]?.()`),
    turns: async () => await evaluate<boolean>('new Promise((turn) => setImmediate(turn, true))', true) === true,
    collectGarbage: async () => void await session.call('HeapProfiler.collectGarbage'),
    async stack() {
      const paused = new Promise<string[]>((resolve) => session.onPaused = resolve)
      await session.call('Debugger.enable')
      await session.call('Debugger.pause')
      const late = sleep(systemClock, ANSWER_MS).then(() => undefined)
      const stack = await Promise.race([paused, late])
      // Goes on, and takes a pause back that has not come yet.
      await session.call('Debugger.disable')
      return stack
    },
    async cpuProfile(ms) {
      await session.call('Profiler.enable')
      await session.call('Profiler.start')
      await sleep(systemClock, ms)
      const { profile } = await session.call<{ profile: CpuProfile }>('Profiler.stop')
      await session.call('Profiler.disable')
      return profile
    },
    async heapSnapshot(write) {
      session.onChunk = write
      await session.call('HeapProfiler.takeHeapSnapshot')
      session.onChunk = () => {}
    },
    async close() {
      // Opened by us, so closed by us: whoever reaches the port can run code there.
      if (known === undefined) {
        await evaluate(`setTimeout(() => process.getBuiltinModule('node:inspector').close(), 100).unref(), true`)
      }
      socket.close()
    },
  }
}

/** Calls over the inspector's socket, matched by number. */
class InspectorSession {
  onChunk: (part: string) => void = () => {}
  onPaused: (stack: string[]) => void = () => {}
  /** Where scripts come from, by id, as the debugger told when it was enabled. */
  readonly #scripts = new Map<string, string>()
  readonly #socket: WebSocket
  readonly #calls = new Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>()
  #lastId = 0

  constructor(socket: WebSocket) {
    this.#socket = socket
    socket.addEventListener('message', ({ data }) => this.#receive(JSON.parse(String(data))))
    socket.addEventListener('close', () => {
      for (const { reject } of this.#calls.values()) {
        reject(new RpcError('unavailable', 'Cannot inspect the process: it has closed the connection'))
      }
      this.#calls.clear()
    })
  }

  call<T>(method: string, params: Record<string, unknown> = {}): Promise<T> {
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject })
      this.#socket.send(JSON.stringify({ id, method, params }))
    })
  }

  #receive(message: InspectorMessage): void {
    if (message.method === 'HeapProfiler.addHeapSnapshotChunk') return this.onChunk(message.params?.chunk ?? '')
    const { scriptId, url = '', callFrames = [] } = message.params ?? {}
    if (message.method === 'Debugger.scriptParsed' && scriptId !== undefined) {
      return void this.#scripts.set(scriptId, url.replace(/^file:\/\//, ''))
    }
    if (message.method === 'Debugger.paused') {
      return this.onPaused(
        callFrames.map(({ functionName, location: { scriptId, lineNumber } }) =>
          `${functionName || '(anonymous)'} ${this.#scripts.get(scriptId) ?? ''}:${lineNumber + 1}`
        ),
      )
    }
    const call = message.id === undefined ? undefined : this.#calls.get(message.id)
    if (!call || message.id === undefined) return
    this.#calls.delete(message.id)
    if (message.error) call.reject(new RpcError('internal', `Cannot inspect the process: ${message.error.message}`))
    else call.resolve(message.result as never)
  }
}

interface InspectorMessage {
  id?: number
  method?: string
  params?: { chunk?: string; scriptId?: string; url?: string; callFrames?: CallFrame[] }
  result?: unknown
  error?: { message: string }
}

interface CallFrame {
  functionName: string
  location: { scriptId: string; lineNumber: number }
}

/** SIGUSR1 ends programs that do not expect it. */
async function assertNode(pid: number): Promise<void> {
  try {
    process.kill(pid, 0)
  } catch (cause) {
    const why = (cause as { code?: string }).code === 'EPERM' ? 'one of this user' : 'one that runs'
    throw new RpcError('not_found', `Cannot inspect ${pid}: --pid must be ${why}, got ${pid}`, { cause })
  }
  const path = await readlink(`/proc/${pid}/exe`).catch(() => undefined)
  if (path !== undefined && !/^node/.test(basename(path))) {
    throw new RpcError('failed_precondition', `Cannot inspect ${pid}: it must be a process of Node, got ${path}`)
  }
}

async function waitForInspector(pid: number, before: readonly number[]): Promise<string> {
  for (const endsAtMs = performance.now() + OPEN_MS; performance.now() < endsAtMs;) {
    const url = await inspectorAmong((await portsOf(pid)).filter((port) => !before.includes(port)))
    if (url !== undefined) return url
    await sleep(systemClock, POLL_MS)
  }
  // It may have been opened with the process, on a port of its choice: no signal opens a second one.
  const url = await inspectorAmong(before)
  if (url !== undefined) return url
  const view = await systemView(pid)
  const state = view && ` (its state is ${view.state}: T is stopped, D waits for a device)`
  throw new RpcError('unavailable', `Cannot inspect ${pid}: its inspector does not open${state ?? ''}`)
}

/** Without /proc there is only Node's own choice of port. */
async function portsOf(pid: number): Promise<number[]> {
  return await systemView(pid) ? await listeningPorts(pid) : [DEFAULT_PORT]
}

/** The socket of the inspector that listens on one of these ports. The process's own ports are left alone. */
async function inspectorAmong(ports: readonly number[]): Promise<string | undefined> {
  for (const port of ports) {
    try {
      const response = await fetch(`http://127.0.0.1:${port}/json/list`, { signal: AbortSignal.timeout(1_000) })
      if (!response.headers.get('content-type')?.includes('json')) continue
      const targets = await response.json() as { webSocketDebuggerUrl?: string }[]
      const url = Array.isArray(targets) ? targets[0]?.webSocketDebuggerUrl : undefined
      if (url !== undefined) return url
    } catch {
      // Not an inspector, or one that is still opening.
    }
  }
  return undefined
}
