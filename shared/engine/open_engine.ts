import { type Clock, systemClock } from '../base/clock.ts'
import { type Log, silentLog } from '../base/log.ts'
import { type AdapterSource, detectDevice, type DeviceChoice, type DeviceWish } from './detect.ts'
import type { Device, DeviceInfo } from './engine.ts'
import { createOrtEngine, type OrtEngine } from './ort_engine.ts'
import type { OrtModule } from './ort_runtime.ts'
import { probe } from './probe.ts'
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
  /** Whether it shows first that it computes right, and how fast (probe.ts): what serves others must. */
  probes?: boolean
  clock?: Pick<Clock, 'now'>
  log?: Log
}

/**
 * Chooses a device, loads the build of ONNX Runtime for it and starts the engine. With 'auto', a device that cannot be
 * started, or computes wrong, gives way to WASM.
 * @throws RpcError `failed_precondition` if WebGPU is asked for and missing, or the device computes wrong, `unavailable` if nothing can be started
 */
export async function openEngine(options: OpenEngineOptions): Promise<OrtEngine> {
  const { wish, gpu, host, log = silentLog } = options
  const start = async (choice: DeviceChoice): Promise<OrtEngine> => {
    const { ort, build } = await options.loadOrt(choice.device)
    const info: DeviceInfo = { ...choice, build, reason: options.reason ?? choice.reason }
    const engine = await createOrtEngine({ ort, info, log })
    if (!options.probes) return engine
    try {
      engine.info.gflops = await probe(engine, options.clock ?? systemClock)
      return engine
    } catch (thrown) {
      await engine.close().catch(() => {})
      throw thrown
    }
  }
  const choice = await detectDevice(wish, gpu, host)
  try {
    return await start(choice)
  } catch (thrown) {
    if (wish !== 'auto' || choice.device === 'wasm') throw thrown
    const { message, code } = RpcError.from(thrown)
    log('warn', 'WebGPU could not be started', { adapter: choice.adapter, reason: message })
    const instead = await detectDevice('wasm', undefined, host)
    const why = code === 'failed_precondition'
      ? `${choice.adapter} computes wrong`
      : `WebGPU could not be started on ${choice.adapter}`
    return await start({ ...instead, reason: `WASM, because ${why}.` })
  }
}
