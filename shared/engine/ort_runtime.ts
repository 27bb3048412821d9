import { LIMITS } from '../base/limits.ts'
import type { WorkerLimits } from '../contracts/fields.ts'
import { RpcError } from '../wire/errors.ts'
import type { Device, DeviceInfo, ExternalFile } from './engine.ts'
import { Mutex } from './mutex.ts'
import { isCrash, reasonOf, wasNotUnwound } from './ort_error.ts'
import type * as Ort from 'onnxruntime-web'

/** The part of onnxruntime-web that is used, whichever of its builds it comes from. */
export type OrtModule = Pick<typeof Ort, 'env' | 'InferenceSession' | 'Tensor'>

/** One for the realm: a call that overlaps another blocks the thread for good, timers included. */
const realm = new Mutex()

/** Errors are thrown at us; printing them as well would fill a host's console with its callers' mistakes. */
const FATAL_ONLY = 4
const RUN_OPTIONS: Ort.InferenceSession.RunOptions = { logSeverityLevel: FATAL_ONLY }

type Results = Ort.InferenceSession.ReturnType

/**
 * `y = Identity(x)`, float32 [1]. The runtime destroys the WebGPU device with its last session, so one is kept on this.
 */
const KEEPER_MODEL = Uint8Array.from(
  atob('CAg6QgobCgF4EgF5GglJZGVudGl0eXkiCElkZW50aXR5EgFnWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUICEBE='),
  (char) => char.charCodeAt(0),
)

interface Placing {
  /** Refuse the model if the device cannot run every node of it. */
  strict: boolean
  /** Weights that the model has in files of their own. */
  external?: readonly ExternalFile[]
  /** Another device than the runtime's own: WASM, beside WebGPU. */
  device?: Device
}

/** A model in the runtime. */
export interface OrtSession {
  session: Ort.InferenceSession
  /** What it was made of, kept where it may have to be made again. */
  source: { model: Uint8Array; placing: Placing } | undefined
}

/**
 * ONNX Runtime on one device: every call into it goes through here, one at a time. It ends for good when the device
 * is lost or its WebAssembly crashes: this realm cannot get its device back, only a fresh thread can.
 */
export class OrtRuntime {
  readonly ort: OrtModule
  /** What fits it. */
  readonly limits: WorkerLimits
  readonly #device: DeviceInfo['device']
  /**
   * Only jspi and native code unwind C++ exceptions. The other builds catch them at their outermost function, and what
   * lay between is never cleaned up: memory stays taken, and on WebGPU the session stays locked, so that its next run would block
   * the thread for good.
   */
  readonly #unwinds: boolean
  readonly #threads: number | undefined
  readonly #lost = Promise.withResolvers<string>()
  #keeper: OrtSession | undefined
  #notUnwound = 0
  #ended: string | undefined
  /** Rejects the call inside the runtime, which may never settle by itself once the device is gone. */
  #abandon: (() => void) | undefined

  private constructor(ort: OrtModule, { device, build }: Pick<DeviceInfo, 'device' | 'build'>, threads?: number) {
    this.ort = ort
    this.#device = device
    this.#unwinds = build === 'jspi' || build === 'native'
    this.#threads = threads
    this.limits = build === 'native' ? {} : { maxFileBytes: LIMITS.maxWasmFileBytes }
  }

  /**
   * @param threads of each session; onnxruntime-node alone has any say in it
   * @throws RpcError `unavailable` if the runtime or its device cannot be started
   */
  static async start(
    ort: OrtModule,
    info: Pick<DeviceInfo, 'device' | 'build'>,
    threads?: number,
  ): Promise<OrtRuntime> {
    const runtime = new OrtRuntime(ort, info, threads)
    ort.env.logLevel = 'fatal'
    try {
      runtime.#keeper = await runtime.createSession(KEEPER_MODEL, { strict: false })
      if (info.device === 'webgpu') {
        const gpu = await ort.env.webgpu.device
        // A tensor is one buffer; one beyond it loads, and fails in every run. Larger ones than a binding takes
        // (maxStorageBufferBindingSize) are bound in parts: with 256 MiB and bindings of 128, numbers were right.
        runtime.limits.maxTensorBytes = gpu.limits.maxBufferSize
        gpu.lost.then(({ reason, message }) => runtime.#end(`the GPU device was lost: ${message || reason}`))
      }
    } catch (cause) {
      if (cause instanceof RpcError) throw cause
      throw new RpcError('unavailable', `Cannot start ONNX Runtime on ${info.device}: ${reasonOf(cause)}`, { cause })
    }
    return runtime
  }

  /** Resolves with the reason when the device is lost or the runtime has crashed; stays pending through `close()`. */
  get lost(): Promise<string> {
    return this.#lost.promise
  }

  /** @throws RpcError `unavailable` once the runtime has ended */
  assertAlive(): void {
    if (this.#ended !== undefined) throw this.#unavailable({ neverSent: true })
  }

  createSession(model: Uint8Array, placing: Placing): Promise<OrtSession> {
    return this.#call(async () => ({
      session: await this.#create(model, placing),
      source: this.#unwinds ? undefined : { model, placing },
    }))
  }

  /** @param onStart called when the run's turn has come */
  run(target: OrtSession, feeds: Ort.InferenceSession.FeedsType, onStart?: () => void): Promise<Results> {
    return this.#call(async () => {
      onStart?.()
      try {
        return await target.session.run(feeds, RUN_OPTIONS)
      } catch (thrown) {
        if (!this.#unwinds && wasNotUnwound(thrown)) await this.#renew(target)
        throw thrown
      }
    })
  }

  /** Harmless once the runtime has ended: the sessions went with it. */
  async release({ session }: OrtSession): Promise<void> {
    if (this.#ended === undefined) await this.#call(() => session.release())
  }

  /** Ends it for good: what it computes cannot be trusted. */
  giveUp(reason: string): void {
    this.#end(reason)
  }

  async close(): Promise<void> {
    const keeper = this.#keeper
    if (this.#ended !== undefined || !keeper) return
    await this.#call(async () => {
      // Before the release, which destroys the device: that is no loss.
      this.#ended = 'it was closed'
      await keeper.session.release()
    })
  }

  /** One call: alone in the realm, refused once the runtime has ended, and ending it if it or its device is broken. */
  #call<T>(task: () => Promise<T>): Promise<T> {
    return realm.run(() => {
      this.assertAlive()
      return new Promise<T>((resolve, reject) => {
        this.#abandon = () => reject(this.#unavailable({}))
        task().then(resolve, async (thrown) => {
          if (isCrash(thrown)) this.#end(`the runtime crashed: ${reasonOf(thrown)}`)
          else if (this.#device === 'webgpu') await this.#probe()
          reject(thrown)
          if (this.#notUnwound >= LIMITS.maxRunsNotUnwound) this.#end('too many failed runs have kept their memory')
        })
      }).finally(() => {
        this.#abandon = undefined
      })
    })
  }

  #create(model: Uint8Array, { strict, external, device = this.#device }: Placing): Promise<Ort.InferenceSession> {
    return this.ort.InferenceSession.create(model, {
      executionProviders: [device],
      logSeverityLevel: FATAL_ONLY,
      ...(this.#threads !== undefined && { intraOpNumThreads: this.#threads }),
      ...(external && { externalData: [...external] }),
      ...(strict && { extra: { session: { disable_cpu_ep_fallback: '1' } } }),
    })
  }

  /** Puts a fresh session in the place of one that a failed run may have left locked. */
  async #renew(target: OrtSession): Promise<void> {
    this.#notUnwound++
    if (!target.source) return
    try {
      await target.session.release()
      target.session = await this.#create(target.source.model, target.source.placing)
    } catch (thrown) {
      this.#end(`a model could not be opened again after a failed run: ${reasonOf(thrown)}`)
    }
  }

  /** After a failure, tells a bad model from a dead device: a call can fail of the loss before the loss is announced. */
  async #probe(): Promise<void> {
    const x = new this.ort.Tensor('float32', new Float32Array(1), [1])
    await this.#keeper?.session.run({ x }, RUN_OPTIONS).catch((thrown) => {
      this.#end(`the GPU device no longer computes: ${reasonOf(thrown)}`)
    })
  }

  #end(reason: string): void {
    if (this.#ended !== undefined) return
    this.#ended = reason
    this.#abandon?.()
    this.#lost.resolve(reason)
  }

  #unavailable(options: { neverSent?: boolean }): RpcError {
    return new RpcError('unavailable', `Cannot compute: the engine has stopped (${this.#ended})`, options)
  }
}
