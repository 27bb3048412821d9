import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../../shared/base/clock.ts'
import { silentLog } from '../../../shared/base/log.ts'
import { seededRandom } from '../../../shared/base/random.ts'
import type { Engine } from '../../../shared/engine/engine.ts'
import { campaign } from '../../../shared/registry/campaign.ts'
import { Coordinator, type CoordinatorOptions, type TrainingEvent } from '../../../shared/training/coordinator.ts'
import { storeRows } from '../../../shared/training/dataset.ts'
import { newMlp } from '../../../shared/training/new_models.ts'
import type { Optimizer } from '../../../shared/training/optimizers.ts'
import { type PreparedRun, prepareRun, type RunSettings } from '../../../shared/training/prepare_run.ts'
import { openRuns, type Runs } from '../../../functions/trainer/runs.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { type LocalPool, MemoryBlobs, runnerOn } from './local_pool.ts'

export const MODEL = newMlp({ inputs: 12, hidden: [16], outputs: 4, activation: 'Tanh', seed: 3 })
export const ROWS = 300
const SETTINGS: RunSettings = {
  loss: 'crossEntropyOfLabels',
  batch: 64,
  shards: 8,
  seed: 5,
  format: 'fp32',
  validationRows: 0,
}

export interface Task {
  prepared: PreparedRun
  blobs: MemoryBlobs
}

/** Points in four overlapping clouds, and their class. */
export function clouds(rows = ROWS): { x: Tensor; labels: Tensor } {
  const random = seededRandom(1)
  const labels = Int32Array.from({ length: rows }, () => Math.floor(random() * 4))
  const x = Float32Array.from({ length: rows * 12 }, (_, i) => {
    const label = labels[Math.floor(i / 12)] ?? 0
    return Math.sin(label * 7 + i % 12) + 2 * (random() - 0.5)
  })
  return { x: Tensor.from('float32', [rows, 12], x), labels: Tensor.from('int32', [rows], labels) }
}

export async function prepareTask(engine: Engine, settings: Partial<RunSettings> = {}): Promise<Task> {
  const blobs = new MemoryBlobs()
  const { x, labels } = clouds()
  const files = await storeRows({ x, labels }, blobs.put)
  const dataset = { files, inputs: undefined, target: undefined }
  const model = { model: MODEL, run: runnerOn(engine) }
  return { prepared: await prepareRun(model, dataset, { ...SETTINGS, ...settings }, blobs.put), blobs }
}

/** A folder of runs, removed when the test is done. */
export async function temporaryRuns(): Promise<Runs & { folder: string; [Symbol.asyncDispose](): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-run-'))
  const runs = await openRuns(folder)
  return {
    ...runs,
    folder,
    async [Symbol.asyncDispose]() {
      await runs.close()
      rmSync(folder, { recursive: true })
    },
  }
}

export interface TrainOptions extends Partial<Omit<CoordinatorOptions, 'prepared' | 'optimizer'>> {
  prepared: PreparedRun
  optimizer: Optimizer
  pool: LocalPool
  runs: Runs
  /** Steps to take. */
  steps: number
  onEvent?: (event: TrainingEvent) => void | Promise<void>
}

/** Takes some steps of a run, as its leader. */
export async function trainOn(options: TrainOptions): Promise<Coordinator> {
  const { pool, runs, steps, onEvent, ...rest } = options
  const name = rest.run ?? 'test'
  const term = await campaign({ store: runs.elections, name, clock: systemClock, random: Math.random, ttlMs: 60_000 })
  try {
    const deps = {
      clock: systemClock,
      metrics: pool.metrics,
      log: silentLog,
      directory: pool,
      codec: 'tensors',
      store: runs.store,
      term,
    } as const
    const coordinator = await Coordinator.open(deps, {
      run: 'test',
      model: '0'.repeat(64),
      opset: 17,
      optimizerName: 'of the test',
      epochs: 1000,
      checkpointSteps: 1000,
      resume: true,
      ...rest,
    })
    const stop = new AbortController()
    if (coordinator.step >= steps) return coordinator
    for await (const event of coordinator.train(stop.signal)) {
      await onEvent?.(event)
      if (event.type === 'step' && event.step >= steps) stop.abort()
    }
    return coordinator
  } finally {
    await term.resign()
  }
}
