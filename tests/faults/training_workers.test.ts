import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { seededRandom } from '../../shared/base/random.ts'
import type { Running } from '../fixtures/process.ts'
import { extent } from './figures.ts'
import {
  drawStep,
  eventsOf,
  PATIENCE_MS,
  reached,
  resultOf,
  SEED,
  STEPS,
  STEPS_PER_EPOCH,
  TrainingScene,
} from './training_harness.ts'
import { openUnrulyLine } from './unruly_line.ts'

/** Thorough: the 200 steps of the claim. */
const EPOCHS = extent({ quick: 2, thorough: Math.ceil(200 / STEPS_PER_EPOCH) })

let scene: TrainingScene
let undisturbed: string
beforeAll(async () => {
  scene = await TrainingScene.open()
  undisturbed = await resultOf(scene.startTraining('alone.onnx', ['--workers', '1']))
}, PATIENCE_MS)
afterAll(() => scene[Symbol.asyncDispose]())

describe('training gives the same bits', () => {
  it('while workers are killed and others come', { timeout: PATIENCE_MS }, async () => {
    const random = seededRandom(SEED)
    let at = 0
    const steps = Array.from({ length: 5 }, () => at = drawStep(random, at + 3, at + 30))
    console.log(`SHOAL_FAULT_SEED=${SEED}: workers killed at steps ${steps}`)
    const workers: Running[] = [scene.startWorker(), scene.startWorker()]
    const training = scene.startTraining('killed.onnx')
    for (const step of steps) {
      await reached(training, step)
      const victim = workers.splice(Math.floor(random() * workers.length), 1)
      for (const worker of victim) worker.signal('SIGKILL')
      workers.push(scene.startWorker())
    }
    expect(await resultOf(training)).toBe(undisturbed)
    expect(eventsOf(training).filter(({ type }) => type === 'step')).toHaveLength(STEPS)
    await Promise.all(workers.map((worker) => worker.stop()))
  })

  for (const optimizer of ['adam', 'momentum']) {
    it(
      `with calls and answers doubled, reordered and misdelivered, by ${optimizer}`,
      { timeout: PATIENCE_MS },
      async () => {
        const settings = ['--optimizer', optimizer, '--epochs', String(EPOCHS)]
        const expected = await resultOf(
          scene.startTraining(`orderly-${optimizer}.onnx`, [...settings, '--workers', '1']),
        )
        await using line = await openUnrulyLine(scene.gateway.url, seededRandom(SEED))
        const workers = [1, 2, 3].map(() => scene.startWorker(line.url))
        await Promise.all(workers.map((worker) => worker.wrote(/serving/)))
        const training = scene.startTraining(`unruly-${optimizer}.onnx`, [...settings, '--gateway', line.url])
        expect(await resultOf(training)).toBe(expected)
        expect(eventsOf(training).filter(({ type }) => type === 'step')).toHaveLength(
          EPOCHS * STEPS_PER_EPOCH,
        )
        console.log(`${optimizer}: the line's disorder ${JSON.stringify(line.counts)}`)
        expect(Math.min(...Object.values(line.counts))).toBeGreaterThan(0)
        await Promise.all(workers.map((worker) => worker.stop()))
      },
    )
  }

  it('while a worker stands still: its shards are leased again, and what it says later is ignored', {
    timeout: PATIENCE_MS,
  }, async () => {
    const [quick, slow] = [scene.startWorker(), scene.startWorker()]
    const training = scene.startTraining('straggler.onnx')
    await reached(training, 12)
    slow.signal('SIGSTOP')
    await reached(training, 40)
    slow.signal('SIGCONT')
    expect(await resultOf(training)).toBe(undisturbed)
    await Promise.all([quick.stop(), slow.stop()])
  })

  it('when every worker is lost and one comes back', { timeout: PATIENCE_MS }, async () => {
    const first = scene.startWorker()
    const training = scene.startTraining('deserted.onnx')
    await reached(training, 20)
    first.signal('SIGKILL')
    await first.ended
    const second = scene.startWorker()
    expect(await resultOf(training)).toBe(undisturbed)
    await second.stop()
  })
})
