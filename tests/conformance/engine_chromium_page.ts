/** What the page of engine_chromium.test.ts runs: engines in dedicated Workers, as a tab has them. */
import { assert } from 'chai'
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
/** The same engine with a hook that destroys its device. */
const FRAGILE_WORKER = '/assets/fragile_engine_worker.js'

type Start = Omit<EngineStart, 'port'>

const open = (start: Start) => linkEngine({ spawn: () => spawnEngineWorker(WORKER, start) })

export function conformance(name: string, start: Start): Promise<CaseResult[]> {
  return runSuites([engineSuite(name, () => open(start))])
}

export async function info(start: Start) {
  const engine = await open(start)
  await engine.close()
  return engine.info
}

/** The largest difference between the two devices' results for one network. */
export async function difference(): Promise<number> {
  const [webgpu, wasm] = await Promise.all([open({ wish: 'webgpu' }), open({ wish: 'wasm' })])
  try {
    assert.deepEqual([webgpu.info.device, wasm.info.device], ['webgpu', 'wasm'])
    const [left, right] = await Promise.all([networkOutputs(webgpu), networkOutputs(wasm)])
    assert.equal(left.length, right.length)
    return left.reduce((most, value, i) => Math.max(most, Math.abs(value - (right[i] ?? NaN))), 0)
  } finally {
    await Promise.all([webgpu.close(), wasm.close()])
  }
}

/** What WebGPU makes of a convolution by itself, how far it is off, and what the engine makes of it. */
export async function wrongConvolution() {
  const weights = randomTensor([4, 6, 3, 3], 1)
  const x = randomTensor([1, 6, 5, 5], 2)
  const right = referenceConvolution(x, weights, 1)
  const engine = await open({ wish: 'webgpu' })
  const errorOf = async (key: string) => {
    const { outputs } = await engine.run(key, { x })
    return [...outputs.y?.data as Float32Array].reduce(
      (most, y, i) => Math.max(most, Math.abs(y - (right[i] ?? NaN))),
      0,
    )
  }
  try {
    const trusted = await engine.load('trusted', convolution(weights, 1), { trusted: true })
    const guarded = await engine.load('guarded', convolution(weights, 1))
    return { trusted, trustedError: await errorOf('trusted'), guarded, guardedError: await errorOf('guarded') }
  } finally {
    await engine.close()
  }
}

declare global {
  /** Exposed by the test: ends the browser's GPU process. */
  function crashGpuProcess(): Promise<void>
}

/** Destroys the device under running calls, as a driver may. */
export async function destroyDevice(): Promise<Recovery> {
  const channel = new BroadcastChannel('fragile')
  try {
    return await loseAndRecover(FRAGILE_WORKER, () => channel.postMessage('destroy'))
  } finally {
    channel.close()
  }
}

/** Crashes the GPU process under running calls. */
export function crashGpu(): Promise<Recovery> {
  return loseAndRecover(WORKER, () => crashGpuProcess())
}

interface Recovery {
  /** What a call answered that was made while the device went, and one made to the fresh Worker before a load. */
  lost: string
  restarted: string
  device: string
  /** What the model answers after it was loaded again. */
  values: number[]
}

async function loseAndRecover(worker: string, lose: () => void | Promise<void>): Promise<Recovery> {
  const model = identityModel('float32', ['N'])
  const x = Tensor.from('float32', [2], [1, 2])
  const engine = await linkEngine({ spawn: () => spawnEngineWorker(worker, { wish: 'webgpu' }) })
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
