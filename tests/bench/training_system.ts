/** The whole system beside a plain loop, and how it grows with workers. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import type { Engine } from '../../shared/engine/engine.ts'
import { DataRows } from '../../shared/training/data_rows.ts'
import { feedShard } from '../../shared/training/feeds.ts'
import { applyUpdates, meanGradient } from '../../shared/training/optimizers.ts'
import { type Plan, plan as planSchema } from '../../shared/training/plan.ts'
import type { PreparedRun } from '../../shared/training/prepare_run.ts'
import { decodeUtf8 } from '../../shared/base/bytes.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { putBlobTo } from '../../functions/trainer/trainer_gateway.ts'
import { startChild, stopAll } from './child.ts'
import type { Series } from './figures.ts'
import type { LocalSteps } from './training_local.ts'
import {
  cpuMs,
  type ModelName,
  MODELS,
  noise,
  openRun,
  optimizer,
  OWN,
  prepare,
  type SystemRun,
  wasmEngine,
} from './training_task.ts'

export const BATCH = 512
const ROUNDS = 5
/** Many short ones in turns: what else the machine does meanwhile then strikes all alike. */
const SYSTEM_ROUNDS = 9
/** Steps per round: about half a second of each, and more. */
const STEPS: Readonly<Record<ModelName, number>> = { mlp: 20, cnn: 2 }
const ROWS: Readonly<Record<ModelName, number>> = {
  mlp: 128 * BATCH,
  cnn: 32 * BATCH,
}

/**
 * Steps per second on one worker, of `shoal train` with a worker of its own and of a run whose coordinator, relay and
 * worker are processes on sockets, beside those of a loop without any of it.
 */
export async function measureSystem(
  name: ModelName,
  series: Series,
): Promise<void> {
  await using scene = await openScene()
  await scene.start('./training_worker.ts', [scene.port])
  const local = await scene.start('./training_local.ts', [name, ...[ROWS[name], BATCH].map(String)])
  const blobs = new Map<string, Uint8Array<ArrayBuffer>>()
  const put = async (bytes: Uint8Array) => {
    const sha256 = await scene.put(bytes)
    blobs.set(sha256, bytes as Uint8Array<ArrayBuffer>)
    return sha256
  }
  const engine = await wasmEngine()
  try {
    const dataset = await noise(ROWS[name], put)
    const prepared = await prepare(MODELS[name](), engine, dataset, {
      batch: BATCH,
      shards: 1,
    }, put)
    const loop = await openLoop(
      engine,
      prepared,
      (sha256) => blobs.get(sha256) ?? new Uint8Array(),
    )
    const system = await scene.openRun(name, prepared)
    // Until all three are compiled.
    for (let round = 0; round < 2; round++) {
      await system.steps(STEPS[name])
      await local.ask({ steps: STEPS[name] })
      await loop(STEPS[name])
    }
    for (let round = 0; round < SYSTEM_ROUNDS; round++) {
      const count = STEPS[name]
      const { milliseconds, cpuMilliseconds, sentBytes, receivedBytes } = await local.ask<LocalSteps>({ steps: count })
      const ours = count * 1_000 / milliseconds
      const before = process.cpuUsage()
      const plain = await perSecond(count, () => loop(count))
      const plainCpuMs = cpuMs(before)
      const sockets = await perSecond(count, () => system.steps(count))
      series.add(`system_vs_in_process_loop_${name}`, 'ratio', ours / plain)
      series.add(`system_vs_in_process_loop_cpu_${name}`, 'ratio', plainCpuMs / cpuMilliseconds)
      series.add(`three_processes_vs_in_process_loop_${name}`, 'ratio', sockets / plain)
      series.add(`system_steps_per_s_${name}`, '1/s', ours)
      series.add(`three_processes_steps_per_s_${name}`, '1/s', sockets)
      series.add(`in_process_steps_per_s_${name}`, '1/s', plain)
      const parameterBytes = prepared.initial.byteLength
      series.add(
        `bytes_per_step_vs_params_${name}`,
        'ratio',
        (sentBytes + receivedBytes) / parameterBytes,
      )
    }
  } finally {
    await engine.close()
  }
}

/** The steps that `shoal train` takes, as anybody would write them in one process. */
async function openLoop(
  engine: Engine,
  { training, initial }: PreparedRun,
  blob: (sha256: string) => Uint8Array<ArrayBuffer>,
): Promise<(count: number) => Promise<void>> {
  const plan: Plan = planSchema.parse(
    JSON.parse(decodeUtf8(blob(training.sha256))),
  )
  const data = new DataRows({
    blob: (sha256) => Promise.resolve(blob(sha256)),
    range: () => Promise.reject(new Error('Cannot read by range: the data are here')),
  })
  await engine.load('loop', blob(plan.graph))
  const { signal } = new AbortController()
  const { update, init } = optimizer()
  let parameters = initial
  let state = init(initial.length)
  let step = 0
  return async (count) => {
    for (let i = 0; i < count; i++) {
      const inputs = await feedShard(plan, data, step++, 0, signal)
      inputs[plan.parameters.name] = Tensor.from(
        'float32',
        [parameters.length],
        parameters,
      )
      const { outputs } = await engine.run('loop', inputs)
      const sum = outputs[plan.output.name]?.data as Float32Array
      const gradient = meanGradient(
        sum.subarray(0, parameters.length),
        sum[parameters.length + 1] ?? NaN,
        true,
      )
      const next = update(gradient, state, parameters, OWN)
      parameters = applyUpdates(parameters, next.updates, next.isOwn)
      state = next.state
    }
  }
}

const SCALING = {
  shards: 16,
  delayMs: 250,
  workers: [1, 4, 16],
  steps: { 1: 1, 4: 3, 16: 8 },
} as const

/** Steps per second with so many workers over those that so many times one worker would make. */
export async function measureScaling(series: Series): Promise<void> {
  const engine = await wasmEngine()
  const scenes: Scene[] = []
  try {
    const systems: {
      workers: typeof SCALING.workers[number]
      system: SystemRun
    }[] = []
    for (const workers of SCALING.workers) {
      const scene = await openScene()
      scenes.push(scene)
      const put = scene.put
      const dataset = await noise(SCALING.shards * 64, put)
      const sizes = { batch: SCALING.shards * 32, shards: SCALING.shards }
      const prepared = await prepare(MODELS.mlp(), engine, dataset, sizes, put)
      const delayed = [workers, SCALING.delayMs, prepared.training.length].map(
        String,
      )
      await scene.start('./training_worker.ts', [scene.port, ...delayed])
      const system = await scene.openRun(`scaling-${workers}`, prepared)
      await system.steps(2)
      systems.push({ workers, system })
    }
    for (let round = 0; round < ROUNDS; round++) {
      let single = NaN
      for (const { workers, system } of systems) {
        const count = SCALING.steps[workers]
        const rate = await perSecond(count, () => system.steps(count))
        if (workers === 1) single = rate
        else {series.add(
            `scaling_efficiency_${workers}`,
            'ratio',
            rate / (workers * single),
          )}
        series.add(`simulated_steps_per_s_${workers}`, '1/s', rate)
      }
    }
  } finally {
    for (const scene of scenes) await scene[Symbol.asyncDispose]()
    await engine.close()
  }
}

export const SCALING_SETUP =
  `scaling: SIMULATED compute, a fixed ${SCALING.delayMs} ms per shard, ${SCALING.shards} shards, real sockets and the ` +
  'parameters and gradients of the MLP; all workers in one process'

async function perSecond(
  count: number,
  work: () => Promise<unknown>,
): Promise<number> {
  const startedAtMs = performance.now()
  await work()
  return count * 1_000 / (performance.now() - startedAtMs)
}

type Scene = Awaited<ReturnType<typeof openScene>>

/** A gateway of its own process, and what joins it. */
async function openScene() {
  const folder = await mkdtemp(join(tmpdir(), 'shoal-bench-'))
  const started: { stop(): Promise<void> }[] = []
  const runs: SystemRun[] = []
  const start = async (file: string, args: readonly string[] = []) => {
    const child = await startChild(file, args)
    started.push(child)
    return child
  }
  const { port } = await start('./gateway_server.ts')
  const gateway = `http://127.0.0.1:${port}`
  const access = { url: gateway, key: undefined, headers: {} }
  return {
    port: String(port),
    start,
    put: putBlobTo(access),
    async openRun(run: string, prepared: PreparedRun) {
      const system = await openRun({ gateway, folder, run, prepared })
      runs.push(system)
      return system
    },
    async [Symbol.asyncDispose]() {
      for (const run of runs) await run.close()
      await stopAll(started)
      await rm(folder, { recursive: true, force: true })
    },
  }
}
