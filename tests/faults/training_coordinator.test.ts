import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startRedisServer } from '../../infra/local_redis.ts'
import { startRedisRest } from '../../infra/redis_rest.ts'
import { sha256Hex } from '../../shared/base/bytes.ts'
import { seededRandom } from '../../shared/base/random.ts'
import { readCheckpoint } from '../../shared/training/checkpoint.ts'
import type { Running } from '../fixtures/process.ts'
import { report } from './figures.ts'
import {
  CHECKPOINT_STEPS,
  drawStep,
  eventsOf,
  PATIENCE_MS,
  reached,
  resultOf,
  SEED,
  STEPS,
  TrainingScene,
} from './training_harness.ts'

let scene: TrainingScene
let worker: Running
let undisturbed: string
const random = seededRandom(SEED)
beforeAll(async () => {
  scene = await TrainingScene.open()
  worker = scene.startWorker()
  undisturbed = await resultOf(scene.startTraining('alone.onnx'))
}, PATIENCE_MS)
afterAll(async () => {
  await worker.stop()
  await scene[Symbol.asyncDispose]()
})

describe('a coordinator', () => {
  it('that is killed is followed by one that waited, to the same bits', { timeout: PATIENCE_MS }, async () => {
    const first = scene.startTraining('killed.onnx')
    await reached(first, 5)
    // However long the second takes to come: without a worker the first stands still.
    worker.signal('SIGSTOP')
    const second = scene.startTraining('killed.onnx', ['--resume'])
    await second.wrote(/"type":"waiting"/)
    worker.signal('SIGCONT')
    const step = drawStep(random, 12)
    console.log(`SHOAL_FAULT_SEED=${SEED}: coordinator killed at step ${step}`)
    await reached(first, step)
    first.signal('SIGKILL')
    await first.ended
    const result = await resultOf(second)
    expect(result).toBe(undisturbed)
    const [before, after] = [epochOf(first), epochOf(second)]
    expect(after).toBeGreaterThan(before)
    // It went on from a checkpoint, not from the start.
    const started = eventsOf(second).find(({ type }) => type === 'started')
    expect(started?.step).toBeGreaterThanOrEqual(checkpointBefore(step))
    report('31 coordinator SIGKILL, one waits', 'one epoch commits at a time; the same bits', {
      killedAtStep: step,
      wentOnFromStep: started?.step ?? NaN,
      epochs: `${before}, then ${after}`,
      sameBits: result === undisturbed,
    })
  })

  it('on another machine goes on where one was killed: all they share is Redis and the gateway', {
    timeout: PATIENCE_MS,
  }, async () => {
    await using redis = await startRedisServer()
    // One of them speaks to it over TCP, the other by REST.
    await using closing = new AsyncDisposableStack()
    const rest = await startRedisRest({ redisUrl: redis.url, token: 'west', port: 0 })
    closing.defer(() => rest.close())
    for (const machine of ['east', 'west']) mkdirSync(join(scene.folder, machine))
    const first = scene.startTraining('east/shared.onnx', [], { REDIS_URL: redis.url })
    await reached(first, 5)
    worker.signal('SIGSTOP')
    const second = scene.startTraining('west/shared.onnx', ['--resume'], {
      UPSTASH_REDIS_REST_URL: rest.url,
      UPSTASH_REDIS_REST_TOKEN: rest.token,
    })
    await second.wrote(/"type":"waiting"/)
    worker.signal('SIGCONT')
    const step = drawStep(random, 12)
    console.log(`SHOAL_FAULT_SEED=${SEED}: coordinator killed at step ${step}`)
    await reached(first, step)
    first.signal('SIGKILL')
    await first.ended
    expect(await resultOf(second)).toBe(undisturbed)
    expect(epochOf(second)).toBeGreaterThan(epochOf(first))
    expect(eventsOf(second).find(({ type }) => type === 'started')?.step).toBeGreaterThanOrEqual(checkpointBefore(step))
    expect(readdirSync(join(scene.folder, 'west/shared.onnx.run'))).not.toContain('checkpoints')
    // Nothing is left but the last checkpoint.
    expect(readdirSync(join(scene.folder, 'gateway/models/checkpoints/shared'))).toHaveLength(1)
  })

  it('that was paused beyond its lease writes nothing any more', { timeout: PATIENCE_MS }, async () => {
    const first = scene.startTraining('paused.onnx')
    await reached(first, 25)
    first.signal('SIGSTOP')
    const second = scene.startTraining('paused.onnx', ['--resume'])
    await reached(second, 60)
    first.signal('SIGCONT')
    const { code, stderr } = await first.ended
    expect(code).toBe(1)
    expect(stderr).toMatch(/epoch/)
    const staleWrites = eventsOf(first).filter(({ type }) => type === 'written').length
    expect(staleWrites).toBe(0)
    const result = await resultOf(second)
    expect(result).toBe(undisturbed)
    const folder = join(scene.folder, 'paused.onnx.run/checkpoints/paused')
    const [last, ...others] = readdirSync(folder)
    expect(others).toEqual([])
    const { description } = readCheckpoint(readFileSync(join(folder, last ?? '')))
    expect(description).toMatchObject({ step: STEPS, epoch: epochOf(second) })
    expect(await sha256Hex(readFileSync(join(scene.folder, 'paused.onnx')))).toBe(undisturbed)
    report('30 coordinator SIGSTOP > lease', 'a new one goes on; stale writes 0; the same bits', {
      pausedAfterStep: 25,
      wokenAfterStep: 60,
      checkpointOfEpoch: description.epoch,
      staleWrites,
      sameBits: result === undisturbed,
    })
  })

  it('that is interrupted leaves a checkpoint from which the run goes on', { timeout: PATIENCE_MS }, async () => {
    const first = scene.startTraining('interrupted.onnx')
    await reached(first, 43)
    first.signal('SIGINT')
    expect((await first.ended).code).toBe(0)
    const ended = eventsOf(first).find(({ type }) => type === 'ended')
    expect(ended?.reason).toBe('interrupted')
    const refused = scene.startTraining('interrupted.onnx')
    expect(await refused.ended).toMatchObject({ code: 1, stderr: expect.stringContaining('--resume') })
    const other = scene.startTraining('interrupted.onnx', ['--resume', '--lr', '1e-2'])
    expect(await other.ended).toMatchObject({ code: 1, stderr: expect.stringContaining('as in the checkpoint') })
    const second = scene.startTraining('interrupted.onnx', ['--resume'])
    expect(await resultOf(second)).toBe(undisturbed)
    expect(eventsOf(second).find(({ type }) => type === 'started')?.step).toBe(ended?.step)
  })
})

/** The step of the last checkpoint that surely was written before the one that was struck at. */
function checkpointBefore(step: number): number {
  return Math.floor((step - 1) / CHECKPOINT_STEPS) * CHECKPOINT_STEPS
}

function epochOf(running: Running): number {
  return eventsOf(running).find(({ type }) => type === 'started')?.epoch ?? NaN
}
