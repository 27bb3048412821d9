import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildWeb } from '../../infra/build_web.ts'
import { silentLog } from '../../shared/base/log.ts'
import { fromTensorProto, readModel } from '../../shared/models/onnx.ts'
import { type ChromiumWorker, joinWithChromium } from '../../functions/worker/chromium_worker.ts'
import { launchChromium } from '../runtime/chromium.ts'
import { extent } from './figures.ts'
import { eventsOf, resultOf, STEPS_PER_EPOCH, type TrainEvent, TrainingScene } from './training_harness.ts'

let scene: TrainingScene
beforeAll(async () => {
  await buildWeb()
  scene = await TrainingScene.open()
})
afterAll(() => scene?.[Symbol.asyncDispose]())

/** Seven epochs are the 200 steps of the claim; one says the same where the GPU is made of software. */
const EPOCHS = extent({ quick: 1, thorough: 7 })
const STEPS = EPOCHS * STEPS_PER_EPOCH

/** They train on the same gradients, of which adam makes more of what is small. */
const OPTIMIZERS = (['adam', 'momentum'] as const).slice(0, extent({ quick: 1, thorough: 2 }))
const TEAMS = ['webgpu', 'mixed', 'wasm'] as const

interface Trained {
  weights: number[]
  steps: readonly TrainEvent[]
}

describe('a Node worker on WASM and a tab of Chromium on WebGPU', () => {
  const trained = new Map<string, Trained>()
  // Each team trains with each optimizer before the next: a software adapter takes seconds to compile its shaders, once a
  // tab, and computes nothing meanwhile; so the tab is alone at first, or most steps would be over by then.
  beforeAll(async () => {
    const train = async (team: string) => {
      for (const optimizer of OPTIMIZERS) trained.set(`${team} ${optimizer}`, await trainBy(team, optimizer))
    }
    const tab = await openTab()
    await train('webgpu')
    const worker = scene.startWorker()
    await worker.wrote(/serving/)
    await train('mixed')
    await tab.stop()
    await train('wasm')
    await worker.stop()
  }, EPOCHS * 240_000)

  it.each(OPTIMIZERS)('train to within 1e-5 of the weights of WASM alone, with %s', (optimizer) => {
    const [webgpu, mixed, wasm] = TEAMS.map((team) => trained.get(`${team} ${optimizer}`))
    if (!webgpu || !mixed || !wasm) throw new Error('all teams must have trained')
    expect(mixed.steps).toHaveLength(STEPS)
    const shared = mixed.steps.filter(({ workers }) => workers === 2).length
    const differences = [mixed, webgpu].map(({ weights }) => relative(wasm.weights, weights))
    const shown = differences.map((difference) => difference.toExponential(2)).join(', ')
    console.log(
      `${optimizer}: ‖mixed − wasm‖₂ / ‖wasm‖₂, and of WebGPU alone: ${shown}; both in ${shared} of ${STEPS}`,
    )
    expect(shared).toBeGreaterThan(STEPS / 2)
    for (const difference of differences) {
      expect(difference).toBeLessThanOrEqual(1e-5)
      // To the last bit two devices do not agree: equal weights would be of one device.
      expect(difference).toBeGreaterThan(0)
    }
  })
})

/** Trains with whoever is there. */
async function trainBy(team: string, optimizer: string): Promise<Trained> {
  const out = `${team}-${optimizer}.onnx`
  const training = scene.startTraining(out, ['--epochs', String(EPOCHS), '--optimizer', optimizer])
  await resultOf(training)
  const steps = eventsOf(training).filter(({ type }) => type === 'step')
  return { weights: weightsOf(join(scene.folder, out)), steps }
}

/** A tab that computes on the GPU, or on what stands for it, and serves. */
async function openTab(): Promise<ChromiumWorker> {
  const browser = await launchChromium()
  try {
    const serves = Promise.withResolvers<void>()
    const onPhase = (phase: string) => phase === 'serving' && serves.resolve()
    const options = { gateway: scene.gateway.url, key: undefined, wish: 'webgpu', name: 'tab', log: silentLog } as const
    const tab = await joinWithChromium(browser, { ...options, onPhase })
    await serves.promise
    return tab
  } catch (thrown) {
    await browser.close()
    throw thrown
  }
}

function weightsOf(path: string): number[] {
  return readModel(readFileSync(path)).graph.initializer.flatMap((proto) => {
    return Array.from(fromTensorProto(proto).data as Float32Array)
  })
}

/** ‖right − left‖ / ‖left‖, Euclidean, over all weights. */
function relative(left: readonly number[], right: readonly number[]): number {
  expect(right.length).toBe(left.length)
  let [difference, norm] = [0, 0]
  for (const [i, value] of left.entries()) {
    difference += ((right[i] ?? NaN) - value) ** 2
    norm += value ** 2
  }
  return Math.sqrt(difference / norm)
}
