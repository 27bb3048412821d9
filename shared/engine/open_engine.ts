import { type Log, silentLog } from '../base/log.ts'
import { type AdapterSource, detectDevice, type DeviceChoice, type DeviceWish } from './detect.ts'
import type { Device } from './engine.ts'
import { createOrtEngine, type OrtEngine } from './ort_engine.ts'
import type { OrtModule } from './ort_runtime.ts'
import { RpcError } from '../wire/errors.ts'

export interface OpenEngineOptions {
  wish: DeviceWish
  /** `navigator.gpu`, where there is one. */
  gpu: AdapterSource | undefined
  /** The machine in a few words. */
  host: string
  /** Why this device, in one sentence, where whoever asks for it knows more than the adapter tells. */
  reason?: string
  loadOrt(device: Device): Promise<{ ort: OrtModule; build: string }>
  log?: Log
}

/**
 * Chooses a device, loads the build of ONNX Runtime for it and starts the engine. With 'auto', a device that cannot be
 * started gives way to WASM.
 * @throws RpcError `failed_precondition` if WebGPU is asked for and missing, `unavailable` if nothing can be started
 */
export async function openEngine(options: OpenEngineOptions): Promise<OrtEngine> {
  const { wish, gpu, host, log = silentLog } = options
  const start = async (choice: DeviceChoice): Promise<OrtEngine> => {
    const { ort, build } = await options.loadOrt(choice.device)
    return await createOrtEngine({ ort, info: { ...choice, build, reason: options.reason ?? choice.reason }, log })
  }
  const choice = await detectDevice(wish, gpu, host)
  try {
    return await start(choice)
  } catch (thrown) {
    if (wish !== 'auto' || choice.device === 'wasm') throw thrown
    const { message } = RpcError.from(thrown)
    log('warn', 'WebGPU could not be started', { adapter: choice.adapter, reason: message })
    const instead = await detectDevice('wasm', undefined, host)
    return await start({ ...instead, reason: `WASM, because WebGPU could not be started on ${choice.adapter}.` })
  }
}
