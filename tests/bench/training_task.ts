import process from 'node:process'
import { systemClock } from '../../shared/base/clock.ts'
import { silentLog } from '../../shared/base/log.ts'
import { Metrics } from '../../shared/base/metrics.ts'
import { seededRandom } from '../../shared/base/random.ts'
import { sha256Hex } from '../../shared/base/bytes.ts'
import type { Engine } from '../../shared/engine/engine.ts'
import { openEngine } from '../../shared/engine/open_engine.ts'
import { describeHost, loadOrtNode } from '../../shared/engine/ort_node.ts'
import { campaign } from '../../shared/registry/campaign.ts'
import { Coordinator, type TrainingEvent } from '../../shared/training/coordinator.ts'
import { type Dataset, type PutBlob, storeRows } from '../../shared/training/dataset.ts'
import { newCnn, newMlp } from '../../shared/training/new_models.ts'
import { adam } from '../../shared/training/optimizers.ts'
import { type PreparedRun, prepareRun } from '../../shared/training/prepare_run.ts'
import type { RunModel } from '../../shared/training/trace_shapes.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { GatewayDirectory } from '../../functions/trainer/gateway_directory.ts'
import type { LocalRelay } from '../../functions/gateway/host.ts'
import { openRuns } from '../../functions/trainer/runs.ts'

/** Digits are what both models read. */
export const SIDE = 28
export const CLASSES = 10

/** Made anew for each use: the seed makes them equal. */
export const MODELS = {
  mlp: () =>
    newMlp({
      inputs: SIDE * SIDE,
      hidden: [256, 256],
      outputs: CLASSES,
      seed: 1,
    }),
  cnn: () =>
    newCnn({
      channels: 1,
      height: SIDE,
      width: SIDE,
      classes: CLASSES,
      seed: 1,
    }),
} as const
export type ModelName = keyof typeof MODELS

/** Of a step: its gradient and the state before it are read by nobody else. */
export const OWN = { gradient: true, state: true } as const

export const optimizer = () => adam({ learningRate: 1e-3 })

/** ONNX Runtime's WASM build in this thread: what a worker has, without the way to it. */
export function wasmEngine(): Promise<Engine> {
  return openEngine({
    wish: 'wasm',
    gpu: undefined,
    host: describeHost(),
    loadOrt: (device) => loadOrtNode(device),
  })
}

export function runnerOn(engine: Engine): RunModel {
  return async (model, inputs) => {
    await engine.load('trace', model)
    try {
      return (await engine.run('trace', { ...inputs })).outputs
    } finally {
      await engine.unload('trace')
    }
  }
}

/** Noise in the form of digits: it costs as much to compute on. */
export async function noise(rows: number, put: PutBlob): Promise<Dataset> {
  const random = seededRandom(4)
  const images = Uint8Array.from(
    { length: rows * SIDE * SIDE },
    () => random() * 256,
  )
  const labels = Uint8Array.from({ length: rows }, () => random() * CLASSES)
  const columns = {
    images: new Tensor('uint8', [rows, SIDE, SIDE], images),
    labels: new Tensor('uint8', [rows], labels),
  }
  return {
    files: await storeRows(columns, put),
    inputs: undefined,
    target: undefined,
  }
}

export async function prepare(
  model: Uint8Array,
  engine: Engine,
  dataset: Dataset,
  sizes: { batch: number; shards: number },
  put: PutBlob,
): Promise<PreparedRun> {
  const settings = {
    ...sizes,
    loss: 'crossEntropyOfLabels',
    seed: 7,
    format: 'fp32',
    validationRows: 0,
  } as const
  return await prepareRun(
    { model, run: runnerOn(engine) },
    dataset,
    settings,
    put,
  )
}

export interface SystemRun {
  /** Takes so many steps. @returns their events */
  steps(count: number): Promise<StepEvent[]>
  close(): Promise<void>
}
type StepEvent = Extract<TrainingEvent, { type: 'step' }>

/** A run as `shoal train` leads it, on a gateway's workers, taken some steps at a time. */
export async function openRun(
  { gateway, local, folder, run, prepared }: {
    gateway: string
    /** The relay of this process, if the gateway runs here. */
    local?: LocalRelay
    folder: string
    run: string
    prepared: PreparedRun
  },
): Promise<SystemRun> {
  const runs = await openRuns(folder)
  const directory = new GatewayDirectory(
    { url: gateway, headers: {} },
    systemClock,
    local,
  )
  const stop = new AbortController()
  const term = await campaign({
    store: runs.elections,
    name: run,
    clock: systemClock,
    random: Math.random,
  })
  const deps = {
    clock: systemClock,
    metrics: new Metrics(),
    log: silentLog,
    directory,
    store: runs.store,
    term,
  }
  const coordinator = await Coordinator.open({ ...deps, codec: 'value' }, {
    run,
    prepared,
    model: await sha256Hex(new Uint8Array()),
    opset: 17,
    optimizer: optimizer(),
    optimizerName: 'of the benchmark',
    epochs: 1_000,
    checkpointSteps: 1_000_000,
    resume: false,
  })
  const events = coordinator.train(stop.signal)
  return {
    async steps(count) {
      const taken: StepEvent[] = []
      while (taken.length < count) {
        const { value, done } = await events.next()
        if (done) throw new Error('Cannot go on: the run ended')
        if (value.type === 'step') taken.push(value)
      }
      return taken
    },
    async close() {
      stop.abort()
      await events.return()
      directory.close()
      await term.resign()
      await runs.close()
    },
  }
}

/** Milliseconds of processor time that this process took since then, in all of its threads. */
export function cpuMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since)
  return (user + system) / 1_000
}
