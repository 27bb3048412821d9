import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { seededRandom } from '../../shared/base/random.ts'
import type { Running } from '../fixtures/process.ts'
import { eventsOf, reached, resultOf, STEPS, TrainingScene } from './training_harness.ts'

let scene: TrainingScene
let undisturbed: string
beforeAll(async () => {
  scene = await TrainingScene.open()
  undisturbed = await resultOf(scene.startTraining('alone.onnx', ['--workers', '1']))
}, 120_000)
afterAll(() => scene[Symbol.asyncDispose]())

describe('training gives the same bits', () => {
  it('while workers are killed and others come', { timeout: 120_000 }, async () => {
    const random = seededRandom(1)
    const workers: Running[] = [scene.startWorker(), scene.startWorker()]
    const training = scene.startTraining('killed.onnx')
    for (const step of [6, 25, 44, 70, 95]) {
      await reached(training, step)
      const victim = workers.splice(Math.floor(random() * workers.length), 1)
      for (const worker of victim) worker.signal('SIGKILL')
      workers.push(scene.startWorker())
    }
    expect(await resultOf(training)).toBe(undisturbed)
    expect(eventsOf(training).filter(({ type }) => type === 'step')).toHaveLength(STEPS)
    await Promise.all(workers.map((worker) => worker.stop()))
  })

  it('while a worker stands still: its shards are leased again, and what it says later is ignored', {
    timeout: 120_000,
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

  it('when every worker is lost and one comes back', { timeout: 120_000 }, async () => {
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
