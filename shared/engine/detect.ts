import { RpcError } from '../wire/errors.ts'
import type { DeviceInfo } from './engine.ts'

export type DeviceWish = 'auto' | 'webgpu' | 'wasm'

/** A device, and why, before the runtime's build is known. */
export type DeviceChoice = Omit<DeviceInfo, 'build'>

/** The part of a GPUAdapter that the choice rests on. */
export interface AdapterFacts {
  readonly info: {
    readonly vendor: string
    readonly architecture: string
    readonly device: string
    readonly description: string
    readonly isFallbackAdapter?: boolean
  }
  /** Where older browsers keep the flag. */
  readonly isFallbackAdapter?: boolean
  readonly features: { has(feature: string): boolean }
}

export interface AdapterSource {
  requestAdapter(options: { powerPreference: 'high-performance' }): Promise<AdapterFacts | null>
}

/** Rasterizers that some hosts offer without the fallback flag. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render/i

export function isDeviceWish(value: unknown): value is DeviceWish {
  return value === 'auto' || value === 'webgpu' || value === 'wasm'
}

/**
 * Chooses what to compute on. A software adapter is taken only when WebGPU is asked for by name, since WASM beats it
 * by a factor of ten and more.
 * @param adapter what `navigator.gpu.requestAdapter()` said; undefined where there is no `navigator.gpu`
 * @param host the machine in a few words, to describe a WASM device
 * @throws RpcError `failed_precondition` if WebGPU is asked for and there is no adapter
 */
export function chooseDevice(
  wish: DeviceWish,
  adapter: AdapterFacts | null | undefined,
  host: string,
): DeviceChoice {
  const wasm = (reason: string): DeviceChoice => ({
    device: 'wasm',
    adapter: host,
    fallbackAdapter: false,
    fp16: true,
    reason,
  })
  if (wish === 'wasm') return wasm('WASM was asked for.')
  if (!adapter) {
    const missing = adapter === null ? 'there is no GPU adapter' : 'this host has no WebGPU'
    if (wish === 'auto') return wasm(`WASM, because ${missing}.`)
    throw new RpcError('failed_precondition', `Cannot use WebGPU: it needs a GPU adapter, but ${missing}`)
  }
  const name = adapterName(adapter)
  const fallbackAdapter = isFallback(adapter)
  if (fallbackAdapter && wish === 'auto') {
    return wasm(`WASM, because the only adapter (${name}) renders in software, which is slower.`)
  }
  return {
    device: 'webgpu',
    adapter: name,
    fallbackAdapter,
    fp16: adapter.features.has('shader-f16'),
    reason: wish === 'webgpu'
      ? `WebGPU was asked for${fallbackAdapter ? ', though the adapter renders in software' : ''}.`
      : `WebGPU, because there is a hardware adapter (${name}).`,
  }
}

/** Asks the host for its adapter and chooses. @throws as `chooseDevice` */
export async function detectDevice(
  wish: DeviceWish,
  gpu: AdapterSource | undefined,
  host: string,
): Promise<DeviceChoice> {
  if (wish === 'wasm' || !gpu) return chooseDevice(wish, undefined, host)
  // A blocked or crashed GPU process rejects instead of answering null.
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null)
  return chooseDevice(wish, adapter, host)
}

function isFallback(adapter: AdapterFacts): boolean {
  return (adapter.info.isFallbackAdapter ?? adapter.isFallbackAdapter ?? false) || SOFTWARE.test(adapterName(adapter))
}

/** Vendor, architecture, device and description, as far as they are words (some hosts give bare numbers) and differ. */
function adapterName({ info }: AdapterFacts): string {
  const words = [info.vendor, info.architecture, info.device, info.description].filter((word) => /[a-z]/i.test(word))
  return [...new Set(words)].join(' ') || 'unnamed adapter'
}
