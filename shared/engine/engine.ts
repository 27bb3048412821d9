import type { WorkerLimits } from '../contracts/fields.ts'
import type { Tensor } from '../wire/tensor.ts'

/** `cpu` is native code, `wasm` the same operators as WebAssembly. */
export type Device = 'webgpu' | 'wasm' | 'cpu'

/** What a worker says of the hardware it computes on. */
export interface DeviceInfo {
  device: Device
  /** Runtime build: 'jspi', 'asyncify' or 'wasm' of onnxruntime-web, 'native' for onnxruntime-node. */
  build: string
  /** The adapter's own words: vendor, architecture, description. For WASM and the CPU, the host. */
  adapter: string
  /** True for a software rasterizer: WASM is faster there. */
  fallbackAdapter: boolean
  fp16: boolean
  /** Why this device was chosen, in one sentence. */
  reason: string
  /** Billions of operations per second in a short run when the engine started; undefined where there was none. */
  gflops?: number
  /** What fits it. */
  limits?: WorkerLimits
}

export interface LoadedModel {
  /**
   * 'full': every node runs on the device. 'partial': some nodes fell back to the CPU. 'refused': the device computes this
   * model wrong, and so all of it runs on WASM.
   */
  placement: 'full' | 'partial' | 'refused'
  /** Why the warm-up run could not be made, or what the device gets wrong. */
  warning?: string
}

export interface LoadOptions {
  /** The caller vouches for the model on this device: it is not compared with WASM before it is used. */
  trusted?: boolean
  /** Weights that the model has in files of their own. */
  external?: readonly ExternalFile[]
}

/** A file that a model refers to by path (ONNX's external data). */
export interface ExternalFile {
  path: string
  data: Uint8Array
}

export interface RunTimings {
  /** Milliseconds waiting for the engine's mutex and inside the run. */
  waitMs: number
  runMs: number
}

export interface RunResult {
  outputs: Record<string, Tensor>
  timings: RunTimings
}

/**
 * Runs ONNX models. The one implementation over ONNX Runtime is ort_engine.ts; engine_link.ts offers the same
 * interface over a MessagePort to an engine in another thread, and outlives a lost device by starting a fresh thread.
 */
export interface Engine {
  readonly info: DeviceInfo
  /**
   * Loads a model under a key (its sha256); loading it again is a no-op. What WebGPU makes of it is compared with WASM
   * first: the runtime has kernels that give wrong numbers without an error.
   * @throws RpcError `invalid_argument` if the model is refused, `unavailable` if the device is lost
   */
  load(key: string, model: Uint8Array, options?: LoadOptions): Promise<LoadedModel>
  /**
   * Runs a loaded model. The outputs own their bytes. Calls may overlap; runs do not.
   * @throws RpcError `not_found` if it is not loaded, `invalid_argument` for wrong inputs, `unavailable` if the device
   *   is lost, `internal` if the model fails on inputs that fit its signature
   */
  run(key: string, inputs: Record<string, Tensor>): Promise<RunResult>
  /** Releases a model, after the runs already asked for. A key that is not loaded is a no-op. */
  unload(key: string): Promise<void>
  /** Releases everything. Every later call answers `unavailable`. */
  close(): Promise<void>
}
