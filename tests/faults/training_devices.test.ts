import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildWeb } from '../../infra/build_web.ts'
import { silentLog } from '../../shared/base/log.ts'
import { fromTensorProto, readModel } from '../../shared/models/onnx.ts'
import { type ChromiumWorker, joinWithChromium } from '../../functions/worker/chromium_worker.ts'
import { launchChromium } from '../runtime/chromium.ts'
import { extent } from './figures.ts'
import { eventsOf, resultOf, STEPS_PER_EPOCH, TrainingScene } from './training_harness.ts'

let scene: TrainingScene
beforeAll(async () => {
  await buildWeb()
  scene = await TrainingScene.open()
})
afterAll(() => scene?.[Symbol.asyncDispose]())

/** Seven epochs are the 200 steps of the claim; one says the same where the GPU is made of software. */
const EPOCHS = extent({ quick: 1, thorough: 7 })
const STEPS = EPOCHS * STEPS_PER_EPOCH

describe('a Node worker on WASM and a tab of Chromium on WebGPU', () => {
  for (const optimizer of ['momentum', 'adam']) {
    it(
      `train to within 1e-5 of the weights of WASM alone, with ${optimizer}`,
      { timeout: EPOCHS * 120_000 },
      async () => {
        const train = async (who: string) => {
          const training = scene.startTraining(`${who}-${optimizer}.onnx`, [
            '--epochs',
            String(EPOCHS),
            '--optimizer',
            optimizer,
          ])
          await resultOf(training)
          const weights = weightsOf(join(scene.folder, `${who}-${optimizer}.onnx`))
          return { weights, steps: eventsOf(training).filter(({ type }) => type === 'step') }
        }
        // Alone at first, since a software adapter takes seconds to compile its shaders: beside another worker it would
        // compute nothing until most steps are over.
        const tab = await openTab()
        const webgpu = await train('webgpu')
        const worker = scene.startWorker()
        await worker.wrote(/serving/)
        const mixed = await train('mixed')
        await tab.stop()
        const wasm = await train('wasm')
        await worker.stop()

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
      },
    )
  }
})

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
