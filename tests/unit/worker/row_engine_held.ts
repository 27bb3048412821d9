import type { DeviceInfo, Engine, LoadedModel, RunResult } from '../../../shared/engine/engine.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Tensor } from '../../../shared/wire/tensor.ts'
import { runRowwise } from '../pool/row_engine.ts'

/** An engine that computes row by row, and starts or ends as slowly as the test says. */
export class RowEngine implements Engine {
  info: DeviceInfo = {
    device: 'wasm',
    build: 'wasm',
    adapter: 'CPU',
    fallbackAdapter: false,
    fp16: false,
    reason: 'test',
  }
  readonly unloads: string[] = []
  readonly loads: { key: string; bytes: number }[] = []
  /** Rows of each run. */
  readonly runs: number[] = []
  running = 0
  mostAtOnce = 0
  #loaded = new Set<string>()
  /** Runs wait for it, if set. */
  gate: Promise<void> | undefined
  failLoad: RpcError | undefined
  failRun: RpcError | undefined

  /** As after a lost device: nothing is loaded any more. */
  restart(): void {
    this.#loaded = new Set()
  }

  async load(key: string, model: Uint8Array): Promise<LoadedModel> {
    this.loads.push({ key, bytes: model.byteLength })
    await undefined
    if (this.failLoad) throw this.failLoad
    this.#loaded.add(key)
    return { placement: 'full' }
  }

  async run(key: string, inputs: Record<string, Tensor>): Promise<RunResult> {
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.running)
    try {
      await this.gate
      if (!this.#loaded.has(key)) throw new RpcError('not_found', `Cannot run ${key}: it is not loaded`)
      this.runs.push(Object.values(inputs)[0]?.shape[0] ?? 1)
      if (this.failRun) throw this.failRun
      return { outputs: runRowwise(inputs), timings: { waitMs: 0, runMs: 5 } }
    } finally {
      this.running--
    }
  }

  unload(key: string): Promise<void> {
    this.unloads.push(key)
    this.#loaded.delete(key)
    return Promise.resolve()
  }

  close(): Promise<void> {
    this.restart()
    return Promise.resolve()
  }
}
