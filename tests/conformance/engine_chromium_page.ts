/** What the page of engine_chromium.test.ts runs: engines in dedicated Workers, as a tab has them. */
import type { DeviceInfo, Engine, LoadedModel } from '../../shared/engine/engine.ts'
import { linkEngine } from '../../shared/engine/engine_link.ts'
import { type EngineStart, spawnEngineWorker } from '../../shared/engine/spawn_web.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { type CaseResult, runSuites } from '../suite.ts'
import { identityModel } from '../fixtures/models.ts'
import { convolution } from './engine_models.ts'
import { randomTensor, referenceConvolution } from './engine_reference.ts'
import { engineSuite, networkOutputs } from './engine_suite.ts'

const WORKER = '/assets/engine_worker.js'
/** The same engine with a hook that destroys its device, and without a first run that shows that it computes right. */
const FRAGILE_WORKER = '/assets/fragile_engine_worker.js'

type Start = Omit<EngineStart, 'port'>

const open = (start: Start) => linkEngine({ spawn: () => spawnEngineWorker(WORKER, start) })

/** What one engine showed. */
export interface Seen {
  info: DeviceInfo
  /** Of the network that all devices must agree on. */
  outputs: number[]
  convolution: WrongConvolution | undefined
  results: CaseResult[]
}

/** Opens one engine, for a software adapter takes seconds to compile what an engine tries first, and asks all of it. */
export async function conformance(name: string, start: Start): Promise<Seen> {
  const engine = await open(start)
  const { info } = engine
  const outputs = await networkOutputs(engine)
  const convolution = info.device === 'webgpu' ? await wrongConvolution(engine) : undefined
  // Its last case closes the engine.
  const results = await runSuites([engineSuite(name, () => Promise.resolve(engine))])
  return { info, outputs, convolution, results }
}

export async function info(start: Start): Promise<DeviceInfo> {
  const engine = await open(start)
  await engine.close()
  return engine.info
}

/** What WebGPU makes of a convolution by itself, how far it is off, and what the engine makes of it. */
interface WrongConvolution {
  trusted: LoadedModel
  trustedError: number
  guarded: LoadedModel
  guardedError: number
}

async function wrongConvolution(engine: Engine): Promise<WrongConvolution> {
  const weights = randomTensor([4, 6, 3, 3], 1)
  const x = randomTensor([1, 6, 5, 5], 2)
  const right = referenceConvolution(x, weights, 1)
  const errorOf = async (key: string) => {
    const { outputs } = await engine.run(key, { x })
    await engine.unload(key)
    return [...outputs.y?.data as Float32Array].reduce(
      (most, y, i) => Math.max(most, Math.abs(y - (right[i] ?? NaN))),
      0,
    )
  }
  const trusted = await engine.load('trusted', convolution(weights, 1), { trusted: true })
  const guarded = await engine.load('guarded', convolution(weights, 1))
  return { trusted, trustedError: await errorOf('trusted'), guarded, guardedError: await errorOf('guarded') }
}

declare global {
  /** Exposed by the test: ends the browser's GPU process. */
  function crashGpuProcess(): Promise<void>
}

/** Destroys the device under running calls, as a driver may. */
export async function destroyDevice(): Promise<Recovery> {
  const channel = new BroadcastChannel('fragile')
  try {
    return await loseAndRecover(() => channel.postMessage('destroy'))
  } finally {
    channel.close()
  }
}

/** Crashes the GPU process under running calls. */
export function crashGpu(): Promise<Recovery> {
  return loseAndRecover(() => crashGpuProcess())
}

interface Recovery {
  /** What a call answered that was made while the device went, and one made to the fresh Worker before a load. */
  lost: string
  restarted: string
  device: string
  /** What the model answers after it was loaded again. */
  values: number[]
}

async function loseAndRecover(lose: () => void | Promise<void>): Promise<Recovery> {
  const model = identityModel('float32', ['N'])
  const x = Tensor.from('float32', [2], [1, 2])
  const engine = await linkEngine({ spawn: () => spawnEngineWorker(FRAGILE_WORKER, { wish: 'webgpu' }) })
  try {
    const fresh = new Promise<void>((resolve) => engine.onRestart(() => resolve()))
    await engine.load('model', model)
    await engine.run('model', { x })
    await lose()
    // Calls go on until the loss shows, and each must answer.
    let lost = 'none'
    while (lost === 'none') lost = await codeOf(engine.run('model', { x }))
    await fresh
    const restarted = await codeOf(engine.run('model', { x }))
    await engine.load('model', model)
    const { outputs } = await engine.run('model', { x })
    return { lost, restarted, device: engine.info.device, values: [...outputs.y?.data as Float32Array] }
  } finally {
    await engine.close()
  }
}

async function codeOf(run: Promise<unknown>): Promise<string> {
  return await run.then(() => 'none', (thrown) => RpcError.from(thrown).code)
}
