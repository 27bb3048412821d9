import { availableParallelism } from 'node:os'
import type { Log } from '../../shared/base/log.ts'
import { type DeviceWish, isDeviceWish } from '../../shared/engine/detect.ts'
import { type LinkedEngine, linkEngine } from '../../shared/engine/engine_link.ts'
import type { NodeRuntime } from '../../shared/engine/open_node.ts'
import { spawnEngineThread } from '../../shared/engine/spawn_node.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { findPackage, INSTALL_HINTS } from './optional_packages.ts'

/** What a host is asked to compute on: beside what a tab can, `cpu` is native code. */
export type HostDevice = DeviceWish | 'cpu'

export function isHostDevice(value: unknown): value is HostDevice {
  return isDeviceWish(value) || value === 'cpu'
}

/** A way to compute that was looked at, and why it was not taken. */
export interface Refusal {
  runtime: string
  reason: string
}

export interface HostEngine {
  engine: LinkedEngine
  /** What it runs on, for people: `onnxruntime-node`. */
  runtime: string
  /** What was better and could not be had, in the order of preference. */
  refused: readonly Refusal[]
}

export interface HostEngineOptions {
  /** How many engines share this machine's cores. */
  engines: number
  log: Log
  /** What the caller has looked at before, Chromium for one. */
  refused?: readonly Refusal[]
}

interface Candidate {
  runtime: string
  serves: readonly HostDevice[]
  /** @throws RpcError with the reason why it is not to be had */
  open(wish: HostDevice, options: HostEngineOptions, because: string): Promise<LinkedEngine>
}

const THREAD = new URL('./engine_thread.ts', import.meta.url)

/** Node's ways to compute, the best first. */
const CANDIDATES: readonly Candidate[] = [
  {
    runtime: 'Node + webgpu',
    serves: ['auto', 'webgpu'],
    async open(wish, options) {
      const runtime: NodeRuntime = { kind: 'webgpu', entry: entryOf('webgpu') }
      // With 'auto' the thread itself falls back to WASM, and says why: then this candidate has failed.
      const engine = await spawn(wish === 'webgpu' ? 'webgpu' : 'auto', runtime, options.log)
      if (engine.info.device === 'webgpu') return engine
      await engine.close()
      throw new RpcError('failed_precondition', engine.info.reason.replace(/^WASM, because (.*)\.$/, '$1'))
    },
  },
  {
    runtime: 'onnxruntime-node',
    serves: ['auto', 'cpu'],
    open(wish, { engines, log }, because) {
      const entry = entryOf('onnxruntime-node')
      const threads = Math.max(1, Math.floor(availableParallelism() / engines))
      const reason = wish === 'cpu' ? 'Native code on the CPU was asked for.' : `Native code on the CPU${because}.`
      return spawn('auto', { kind: 'onnxruntime-node', entry, threads, reason }, log)
    },
  },
  {
    runtime: 'WebAssembly in Node',
    serves: ['auto', 'wasm'],
    open(wish, { log }, because) {
      const reason = wish === 'wasm' ? undefined : `WASM${because}.`
      return spawn('wasm', { kind: 'web', reason }, log)
    },
  },
]

/**
 * Starts an engine in a thread of its own, on the best of Node's runtimes that does what is wished.
 * @throws RpcError `failed_precondition` if none does, with what each said
 */
export async function openHostEngine(wish: HostDevice, options: HostEngineOptions): Promise<HostEngine> {
  const refused = [...options.refused ?? []]
  for (const { runtime, serves, open } of CANDIDATES) {
    if (!serves.includes(wish)) continue
    const because = refused.map(({ runtime, reason }) => `${runtime}: ${reason}`).join('; ')
    try {
      return { engine: await open(wish, options, because && `, because ${because}`), runtime, refused }
    } catch (thrown) {
      refused.push({ runtime, reason: reasonOf(thrown) })
    }
  }
  const reasons = refused.map(({ runtime, reason }) => `${runtime} (${reason})`).join(', ')
  throw new RpcError('failed_precondition', `Cannot compute on ${wish}: one of these must work, got ${reasons}`)
}

function spawn(wish: DeviceWish, runtime: NodeRuntime, log: Log): Promise<LinkedEngine> {
  return linkEngine({ spawn: () => spawnEngineThread(THREAD, wish, runtime), log })
}

function entryOf(name: 'webgpu' | 'onnxruntime-node'): string {
  const entry = findPackage(name)
  if (entry !== undefined) return entry
  throw new RpcError('failed_precondition', `it is not installed (${INSTALL_HINTS[name]})`)
}

function reasonOf(thrown: unknown): string {
  return RpcError.from(thrown).message.replace(/\.$/, '')
}
