import { type Clock, systemClock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { type Log, silentLog } from '../base/log.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import type { TensorSpec } from '../wire/signature.ts'
import type { Tensor } from '../wire/tensor.ts'
import type { DeviceInfo, Engine, ExternalFile, LoadedModel, LoadOptions, RunResult } from './engine.ts'
import { areSuspect, differenceOf, drawInputs, DRAWS, type Golden } from './golden.ts'
import { reasonOf, wereInputsRefused } from './ort_error.ts'
import { type OrtModule, OrtRuntime, type OrtSession } from './ort_runtime.ts'
import { fromResults, specsOf, toFeeds, zeroInputs, zerosAreTypical } from './ort_tensor.ts'

export interface OrtEngineOptions {
  /** One of onnxruntime-web's builds, its environment (threads, asset paths) already set, or onnxruntime-node. */
  ort: OrtModule
  info: DeviceInfo
  /** Of each session, in native code. As many as the machine has cores by default. */
  threads?: number
  clock?: Clock
  log?: Log
}

/** Inputs that a model is compared on. */
const GOLDEN_SAMPLES = 3

interface Model {
  session: OrtSession
  inputs: readonly TensorSpec[]
  loaded: LoadedModel
  /** What the device must answer to something, so that it can be asked again. */
  golden?: Golden
  /** When it last answered that right. */
  provenMs: number
}

/**
 * Starts ONNX Runtime on the device that `info` names.
 * @throws RpcError `unavailable` if the runtime or the device cannot be started
 */
export async function createOrtEngine(options: OrtEngineOptions): Promise<OrtEngine> {
  return new OrtEngine(await OrtRuntime.start(options.ort, options.info, options.threads), options)
}

/** Models over ONNX Runtime, in this thread. Made by `createOrtEngine`. */
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
    this.info = { ...info, limits: runtime.limits }
    this.lost = runtime.lost
    this.#runtime = runtime
    this.#clock = clock
    this.#log = log
  }

  async load(key: string, bytes: Uint8Array, options: LoadOptions = {}): Promise<LoadedModel> {
    this.#runtime.assertAlive()
    let opening = this.#models.get(key)
    if (!opening) {
      opening = this.#open(key, bytes, options)
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
      const outputs = fromResults(results)
      if (model.golden && areSuspect(outputs)) await this.#prove(model, model.golden)
      return { outputs, timings }
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

  async #open(key: string, bytes: Uint8Array, { trusted = false, external }: LoadOptions): Promise<Model> {
    const { session, placement } = await this.#place(bytes, external)
    try {
      const inputs = specsOf('input', session.session.inputMetadata)
      specsOf('output', session.session.outputMetadata)
      if (this.info.device === 'webgpu' && !trusted) {
        const compared = await this.#compare(session, inputs, bytes, external)
        if (compared?.instead) {
          const warning =
            `it runs on WASM, because ${this.info.adapter} does not compute it right: ${compared.difference}`
          this.#log('warn', 'model refused by the device', { model: key, reason: warning })
          await this.#runtime.release(session)
          return { session: compared.instead, inputs, loaded: { placement: 'refused', warning }, provenMs: 0 }
        }
        if (compared) {
          return { session, inputs, loaded: { placement }, golden: compared.golden, provenMs: this.#clock.now() }
        }
      }
      const warning = await this.#warmUp(session, inputs)
      if (warning !== undefined) this.#log('warn', 'model could not be warmed up', { model: key, reason: warning })
      return { session, inputs, loaded: { placement, ...(warning !== undefined && { warning }) }, provenMs: 0 }
    } catch (thrown) {
      await this.#runtime.release(session)
      throw thrown
    }
  }

  /**
   * Compares what the device makes of a model with what WASM does: some of the runtime's kernels are wrong for some shapes.
   * @returns undefined if there is nothing to compare: the model is too large, or runs on no inputs that can be guessed
   */
  async #compare(
    session: OrtSession,
    specs: readonly TensorSpec[],
    bytes: Uint8Array,
    external: readonly ExternalFile[] = [],
  ): Promise<{ golden?: Golden; difference?: string; instead?: OrtSession } | undefined> {
    const total = external.reduce((sum, { data }) => sum + data.byteLength, bytes.byteLength)
    if (total > LIMITS.maxComparedModelBytes) return undefined
    const placing = { strict: false, device: 'wasm', external } as const
    const reference = await this.#runtime.createSession(bytes, placing).catch(unlessOurs)
    if (!reference) return undefined
    const samples = await this.#sample(reference, specs)
    for (const { inputs, outputs } of samples) {
      const difference = await this.#runtime.run(session, toFeeds(this.#runtime.ort, specs, inputs)).then(
        (results) => differenceOf(outputs, fromResults(results)),
        (thrown) => unlessOurs(thrown) ?? reasonOf(thrown),
      )
      if (difference) return { difference, instead: reference }
    }
    await this.#runtime.release(reference)
    return samples.length === 0
      ? undefined
      : { golden: samples.find((sample) => bytesOf(sample) <= LIMITS.maxGoldenBytes) }
  }

  /** What WASM answers, to a few inputs where it is quick about it: one alone may hide a fault behind a saturated output. */
  async #sample(reference: OrtSession, specs: readonly TensorSpec[]): Promise<Golden[]> {
    const samples: Golden[] = []
    const startedMs = this.#clock.now()
    for (const draw of DRAWS) {
      for (let seed = 1; seed <= GOLDEN_SAMPLES; seed++) {
        const inputs = drawInputs(specs, draw, seed)
        const results = inputs &&
          await this.#runtime.run(reference, toFeeds(this.#runtime.ort, specs, inputs)).catch(unlessOurs)
        if (!inputs || !results) break
        samples.push({ inputs, outputs: fromResults(results) })
        if (this.#clock.now() - startedMs > DEFAULTS.goldenTimeMs) return samples
      }
      if (samples.length > 0) return samples
    }
    return samples
  }

  /**
   * The device has answered something odd: if it no longer answers rightly what it has answered rightly before, it is broken.
   * @throws RpcError `unavailable` if so; the engine has ended then
   */
  async #prove(model: Model, { inputs, outputs }: Golden): Promise<void> {
    if (this.#clock.now() - model.provenMs < DEFAULTS.goldenAgainMs) return
    model.provenMs = this.#clock.now()
    const results = await this.#runtime.run(model.session, toFeeds(this.#runtime.ort, model.inputs, inputs))
    const difference = differenceOf(outputs, fromResults(results))
    if (!difference) return
    this.#runtime.giveUp(`${this.info.adapter} computes wrong: ${difference}`)
    this.#runtime.assertAlive()
  }

  /** Tries to place every node on the device; failing that, lets the CPU take what the device cannot. */
  async #place(
    bytes: Uint8Array,
    external?: readonly ExternalFile[],
  ): Promise<{ session: OrtSession; placement: LoadedModel['placement'] }> {
    try {
      if (this.info.device === 'webgpu') {
        const session = await this.#runtime.createSession(bytes, { strict: true, external }).catch(unlessOurs)
        if (session) return { session, placement: 'full' }
      }
      const session = await this.#runtime.createSession(bytes, { strict: false, external })
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

function bytesOf({ inputs, outputs }: Golden): number {
  let total = 0
  for (const { bytes } of [...Object.values(inputs), ...Object.values(outputs)]) total += bytes.byteLength
  return total
}

/** Swallows ONNX Runtime's errors, not those that say the engine has ended. */
function unlessOurs(thrown: unknown): undefined {
  if (thrown instanceof RpcError) throw thrown
}
