import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { silentLog } from '../../shared/base/log.ts'
import { type Random, seededRandom } from '../../shared/base/random.ts'
import { newMlp } from '../../shared/training/new_models.ts'
import { writeSafetensors } from '../../shared/training/safetensors.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { type RunningGateway, startNodeGateway } from '../../functions/gateway/node.ts'
import { type Running, startCli } from '../fixtures/process.ts'
import { extent } from './figures.ts'

const [INPUTS, CLASSES, ROWS] = [64, 8, 2048]
const BATCH = 64
const EPOCHS = extent({ quick: 6, thorough: 12 })
export const CHECKPOINT_STEPS = 10
/** Half a minute on a machine of their own; many start processes, which takes ten times as long on a crowded one. */
export const PATIENCE_MS = 300_000
/** Long enough that a signal meant for the middle of a run finds it there. */
export const STEPS_PER_EPOCH = ROWS / BATCH
export const STEPS = EPOCHS * STEPS_PER_EPOCH
/** A process that is killed no later than here is killed before it has ended. */
const LAST_TO_STRIKE_AT = STEPS - 100

/** Another each time, so that in the end trouble has struck at every step; SHOAL_FAULT_SEED gives one that was printed. */
export const SEED = Number(process.env.SHOAL_FAULT_SEED ?? Math.floor(Math.random() * 1e6))

/** A step to strike at. @param from the first that may be drawn */
export function drawStep(random: Random, from: number, to = LAST_TO_STRIKE_AT): number {
  return from + Math.floor(random() * (to - from + 1))
}

/** A task on disk, a gateway, and the processes that take part: all real, all ended with the scope. */
export class TrainingScene implements AsyncDisposable {
  readonly folder: string
  readonly gateway: RunningGateway
  readonly #processes: Running[] = []

  private constructor(folder: string, gateway: RunningGateway) {
    this.folder = folder
    this.gateway = gateway
  }

  static async open(): Promise<TrainingScene> {
    const folder = mkdtempSync(join(tmpdir(), 'shoal-train-'))
    writeFileSync(join(folder, 'model.onnx'), newMlp({ inputs: INPUTS, hidden: [96], outputs: CLASSES, seed: 2 }))
    writeFileSync(join(folder, 'data.safetensors'), clouds())
    const dataDir = join(folder, 'gateway')
    const gateway = await startNodeGateway({ host: '127.0.0.1', port: 0, dataDir, env: {}, log: silentLog })
    return new TrainingScene(folder, gateway)
  }

  /** A worker of its own process. @param gateway where it gets to the gateway, if not directly */
  startWorker(gateway = this.gateway.url): Running {
    return this.#keep(
      startCli(['worker', '--gateway', gateway, '--device', 'wasm'], { env: { HOME: this.folder } }),
    )
  }

  /** A coordinator of its own process. Those of equal `out` share a run. */
  startTraining(out: string, more: readonly string[] = [], env: Record<string, string> = {}): Running {
    const files = ['--model', 'model.onnx', '--data', 'data.safetensors', '--out', out].map((arg) =>
      arg.startsWith('--') ? arg : join(this.folder, arg)
    )
    const settings = [
      '--optimizer',
      'adam',
      '--lr',
      '3e-3',
      '--batch',
      String(BATCH),
      '--shards',
      '8',
      '--epochs',
      String(EPOCHS),
    ]
    const timing = ['--seed', '11', '--validation', '0', '--checkpoint', String(CHECKPOINT_STEPS), '--lease-ms', '4000']
    const args = ['train', ...files, ...settings, ...timing, '--json', '--gateway', this.gateway.url, ...more]
    return this.#keep(startCli(args, { env: { HOME: this.folder, ...env } }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of this.#processes) running.signal('SIGKILL')
    await Promise.allSettled(this.#processes.map(({ ended }) => ended))
    await this.gateway.close()
    rmSync(this.folder, { recursive: true })
  }

  #keep(running: Running): Running {
    this.#processes.push(running)
    return running
  }
}

export interface TrainEvent {
  type: string
  step?: number
  epoch?: number
  workers?: number
  reason?: string
  sha256?: string
}

export function eventsOf(running: Running): TrainEvent[] {
  return running.output().split('\n').filter((line) => line.startsWith('{')).flatMap((line) => {
    try {
      return [JSON.parse(line) as TrainEvent]
    } catch {
      // The last line may still be on its way.
      return []
    }
  })
}

/** Resolves once the run has committed a step that high. */
export async function reached(running: Running, step: number): Promise<void> {
  await running.wrote(new RegExp(`"type":"step","step":${step},`))
}

/** The hash of the model that a run wrote. @throws if it ended without */
export async function resultOf(running: Running): Promise<string> {
  const { code, stderr } = await running.ended
  const { sha256 } = eventsOf(running).find(({ type }) => type === 'written') ?? {}
  if (code !== 0 || sha256 === undefined) throw new Error(`training ended with ${code}: ${stderr}`)
  return sha256
}

/** Overlapping clouds of points. */
function clouds(): Uint8Array {
  const random = seededRandom(6)
  const labels = Int32Array.from({ length: ROWS }, () => Math.floor(random() * CLASSES))
  const x = Float32Array.from({ length: ROWS * INPUTS }, (_, i) => {
    return Math.sin((labels[Math.floor(i / INPUTS)] ?? 0) * 5 + i % INPUTS) + 3 * (random() - 0.5)
  })
  return writeSafetensors({
    x: Tensor.from('float32', [ROWS, INPUTS], x),
    labels: Tensor.from('int32', [ROWS], labels),
  })
}
