import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { seededRandom } from '../../shared/base/random.ts'
import type { Running } from '../fixtures/process.ts'
import { extent, report } from './figures.ts'
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
import { openUnrulyLine, type UnrulyCounts, type UnrulyLine } from './unruly_line.ts'

/** Thorough: the 200 steps of the claim. */
const EPOCHS = extent({ quick: 2, thorough: Math.ceil(200 / STEPS_PER_EPOCH) })
/** Each makes the run wait until a process has started. */
const KILLS = extent({ quick: 3, thorough: 5 })

const OPTIMIZERS = ['adam', 'momentum'] as const
const shortly = (optimizer: string) => ['--optimizer', optimizer, '--epochs', String(EPOCHS)]

let scene: TrainingScene
/** What one worker makes of it, and of a short run by each optimizer. */
let undisturbed: string
let orderly: readonly string[]
beforeAll(async () => {
  scene = await TrainingScene.open()
  const worker = scene.startWorker()
  const runs = [
    scene.startTraining('alone.onnx'),
    ...OPTIMIZERS.map((optimizer) => scene.startTraining(`orderly-${optimizer}.onnx`, shortly(optimizer))),
  ]
  ;[undisturbed = '', ...orderly] = await Promise.all(runs.map(resultOf))
  await worker.stop()
}, PATIENCE_MS)
afterAll(() => scene[Symbol.asyncDispose]())

describe('training gives the same bits', () => {
  it('while workers are killed and others come', { timeout: PATIENCE_MS }, async () => {
    const random = seededRandom(SEED)
    let at = 0
    const steps = Array.from({ length: KILLS }, () => at = drawStep(random, at + 3, at + 30))
    console.log(`SHOAL_FAULT_SEED=${SEED}: workers killed at steps ${steps}`)
    const workers: Running[] = [scene.startWorker(), scene.startWorker()]
    const training = scene.startTraining('killed.onnx')
    for (const step of steps) {
      await reached(training, step)
      const victim = workers.splice(Math.floor(random() * workers.length), 1)
      for (const worker of victim) worker.signal('SIGKILL')
      workers.push(scene.startWorker())
    }
    const result = await resultOf(training)
    expect(result).toBe(undisturbed)
    expect(eventsOf(training).filter(({ type }) => type === 'step')).toHaveLength(STEPS)
    report('training: workers SIGKILLed', 'others come; the same bits', {
      steps: STEPS,
      killedAtSteps: steps.join(' '),
      sameBits: result === undisturbed,
    })
    await Promise.all(workers.map((worker) => worker.stop()))
  })

  describe('with calls and answers doubled, reordered and misdelivered', () => {
    let line: UnrulyLine
    let workers: Running[]
    beforeAll(async () => {
      line = await openUnrulyLine(scene.gateway.url, seededRandom(SEED))
      workers = [1, 2, 3].map(() => scene.startWorker(line.url))
      await Promise.all(workers.map((worker) => worker.wrote(/serving/)))
    }, PATIENCE_MS)
    afterAll(async () => {
      await Promise.all(workers.map((worker) => worker.stop()))
      await line[Symbol.asyncDispose]()
    })

    it.each(OPTIMIZERS)('by %s', { timeout: PATIENCE_MS }, async (optimizer) => {
      const before = { ...line.counts }
      const out = `unruly-${optimizer}.onnx`
      const training = scene.startTraining(out, [...shortly(optimizer), '--gateway', line.url])
      expect(await resultOf(training)).toBe(orderly[OPTIMIZERS.indexOf(optimizer)])
      expect(eventsOf(training).filter(({ type }) => type === 'step')).toHaveLength(EPOCHS * STEPS_PER_EPOCH)
      const kinds = Object.keys(before) as (keyof UnrulyCounts)[]
      const disorder = kinds.map((kind) => [kind, line.counts[kind] - before[kind]] as const)
      console.log(`${optimizer}: the line's disorder ${JSON.stringify(Object.fromEntries(disorder))}`)
      expect(Math.min(...disorder.map(([, count]) => count))).toBeGreaterThan(0)
    })
  })

  it('while a worker stands still, its late answers ignored, and when all are lost and one comes back', {
    timeout: PATIENCE_MS,
  }, async () => {
    const [quick, slow] = [scene.startWorker(), scene.startWorker()]
    const training = scene.startTraining('straggler.onnx')
    await reached(training, 12)
    slow.signal('SIGSTOP')
    // Its shards are leased again.
    await reached(training, 40)
    slow.signal('SIGCONT')
    await reached(training, 60)
    for (const worker of [quick, slow]) worker.signal('SIGKILL')
    await Promise.all([quick.ended, slow.ended])
    const last = scene.startWorker()
    const result = await resultOf(training)
    expect(result).toBe(undisturbed)
    report('32 straggler', 'its shards are leased again, its late answers refused; the same bits', {
      stoodStillFromStep: 12,
      wokenAfterStep: 40,
      allKilledAfterStep: 60,
      sameBits: result === undisturbed,
    })
    await last.stop()
  })
})
