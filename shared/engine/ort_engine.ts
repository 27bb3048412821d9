import { type Clock, systemClock } from '../base/clock.ts'
import { type Log, silentLog } from '../base/log.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import type { TensorSpec } from '../wire/signature.ts'
import type { Tensor } from '../wire/tensor.ts'
import type { DeviceInfo, Engine, LoadedModel, RunResult } from './engine.ts'
import { reasonOf, wereInputsRefused } from './ort_error.ts'
import { type OrtModule, OrtRuntime, type OrtSession } from './ort_runtime.ts'
import { fromResults, specsOf, toFeeds, zeroInputs, zerosAreTypical } from './ort_tensor.ts'

export interface OrtEngineOptions {
  /** One of onnxruntime-web's builds, its environment (threads, asset paths) already set. */
  ort: OrtModule
  info: DeviceInfo
  clock?: Clock
  log?: Log
}

interface Model {
  session: OrtSession
  inputs: readonly TensorSpec[]
  loaded: LoadedModel
}

/**
 * Starts ONNX Runtime on the device that `info` names.
 * @throws RpcError `unavailable` if the runtime or the device cannot be started
 */
export async function createOrtEngine(options: OrtEngineOptions): Promise<OrtEngine> {
  return new OrtEngine(await OrtRuntime.start(options.ort, options.info), options)
}

/** Models over onnxruntime-web, in this thread. Made by `createOrtEngine`. */
export class OrtEngine implements Engine {
  readonly info: DeviceInfo
  /**
   * Resolves with the reason once the device is lost or the runtime has crashed; stays pending through `close()`.
   * Every later call then answers `unavailable`, and only a fresh thread can compute again.
   */
  readonly lost: Promise<string>
  readonly #runtime: OrtRuntime
  readonly #clock: Clock
  readonly #log: Log
  readonly #models = new Map<string, Promise<Model>>()
  #closing: Promise<void> | undefined

  constructor(runtime: OrtRuntime, { info, clock = systemClock, log = silentLog }: OrtEngineOptions) {
    this.info = info
    this.lost = runtime.lost
    this.#runtime = runtime
    this.#clock = clock
    this.#log = log
  }

  async load(key: string, bytes: Uint8Array): Promise<LoadedModel> {
    this.#runtime.assertAlive()
    let opening = this.#models.get(key)
    if (!opening) {
      opening = this.#open(key, bytes)
      this.#models.set(key, opening)
    }
    try {
      return (await opening).loaded
    } catch (thrown) {
      if (this.#models.get(key) === opening) this.#models.delete(key)
      throw thrown
    }
  }

  async run(key: string, inputs: Record<string, Tensor>): Promise<RunResult> {
    this.#runtime.assertAlive()
    const model = await this.#models.get(key)
    if (!model) {
      throw new RpcError('not_found', `Cannot run the model: ${key} must be loaded first`, { neverSent: true })
    }
    const feeds = toFeeds(this.#runtime.ort, model.inputs, inputs)
    const askedMs = this.#clock.now()
    let startedMs = askedMs
    try {
      const results = await this.#runtime.run(model.session, feeds, () => startedMs = this.#clock.now())
      const timings = { waitMs: startedMs - askedMs, runMs: this.#clock.now() - startedMs }
      return { outputs: fromResults(results), timings }
    } catch (cause) {
      if (cause instanceof RpcError) throw cause
      const code = wereInputsRefused(cause) ? 'invalid_argument' : 'internal'
      throw new RpcError(code, `Cannot run the model: ${reasonOf(cause)}`, { cause })
    }
  }

  async unload(key: string): Promise<void> {
    const opening = this.#models.get(key)
    this.#models.delete(key)
    // One that failed to load has released its session itself.
    const model = await opening?.catch(() => undefined)
    if (model) await this.#runtime.release(model.session)
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      await Promise.all([...this.#models.keys()].map((key) => this.unload(key)))
      await this.#runtime.close()
    })()
    return this.#closing
  }

  async #open(key: string, bytes: Uint8Array): Promise<Model> {
    const { session, placement } = await this.#place(bytes)
    try {
      const inputs = specsOf('input', session.session.inputMetadata)
      specsOf('output', session.session.outputMetadata)
      const warning = await this.#warmUp(session, inputs)
      if (warning !== undefined) this.#log('warn', 'model could not be warmed up', { model: key, reason: warning })
      return { session, inputs, loaded: { placement, ...(warning !== undefined && { warning }) } }
    } catch (thrown) {
      await this.#runtime.release(session)
      throw thrown
    }
  }

  /** Tries to place every node on the device; failing that, lets the CPU take what the device cannot. */
  async #place(bytes: Uint8Array): Promise<{ session: OrtSession; placement: LoadedModel['placement'] }> {
    try {
      if (this.info.device === 'webgpu') {
        const session = await this.#runtime.createSession(bytes, { strict: true }).catch(unlessOurs)
        if (session) return { session, placement: 'full' }
      }
      const session = await this.#runtime.createSession(bytes, { strict: false })
      return { session, placement: this.info.device === 'webgpu' ? 'partial' : 'full' }
    } catch (cause) {
      if (cause instanceof RpcError) throw cause
      throw invalid(`Cannot load the model: ONNX Runtime must accept it, got: ${reasonOf(cause)}`, { cause })
    }
  }

  /**
   * One run on zeros: compiles the shaders, and finds operators that are placed on the device but fail there.
   * @returns why it failed, if other inputs might not
   */
  async #warmUp(session: OrtSession, specs: readonly TensorSpec[]): Promise<string | undefined> {
    const inputs = zeroInputs(specs)
    if (!inputs) return 'its inputs are too large to try it on zeros'
    try {
      await this.#runtime.run(session, toFeeds(this.#runtime.ort, specs, inputs))
    } catch (cause) {
      if (cause instanceof RpcError) throw cause
      this.#runtime.assertAlive()
      if (!zerosAreTypical(specs)) return reasonOf(cause)
      throw invalid(`Cannot load the model: it must run on ${this.info.device}, got: ${reasonOf(cause)}`, { cause })
    }
  }
}

/** Swallows ONNX Runtime's errors, not those that say the engine has ended. */
function unlessOurs(thrown: unknown): undefined {
  if (thrown instanceof RpcError) throw thrown
}
