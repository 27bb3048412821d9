import { cpus } from 'node:os'
import { RpcError } from '../wire/errors.ts'
import type { AdapterSource, DeviceWish } from './detect.ts'
import { openEngine } from './open_engine.ts'
import { createOrtEngine, type OrtEngine } from './ort_engine.ts'
import { adaptNative } from './ort_native_node.ts'
import { describeHost, loadOrtNode } from './ort_node.ts'
import type { OrtModule } from './ort_runtime.ts'

/**
 * What an engine in Node or Deno computes with. `web` is onnxruntime-web, on `navigator.gpu` where the host has one;
 * `webgpu` is the same with Dawn, the package `webgpu`, behind it; `onnxruntime-node` is native code.
 */
export type NodeRuntime =
  & { /** Why this runtime, in one sentence. */ reason?: string }
  & (
    | { kind: 'web' }
    | { kind: 'webgpu'; /** URL of the package's entry, which is optional and found by the host. */ entry: string }
    | { kind: 'onnxruntime-node'; entry: string; /** Of one session; all cores by default. */ threads?: number }
  )

/** Opens an engine in this thread. @throws RpcError as `openEngine`, and `unavailable` if a package cannot be loaded */
export async function openNodeEngine(wish: DeviceWish, runtime: NodeRuntime): Promise<OrtEngine> {
  if (runtime.kind === 'onnxruntime-node') return await openNative(runtime)
  const gpu = runtime.kind === 'webgpu' ? await dawn(runtime.entry) : navigator.gpu
  return await openEngine({
    wish,
    gpu,
    host: describeHost(),
    reason: runtime.reason,
    loadOrt: loadOrtNode,
    probes: true,
  })
}

async function openNative(
  { entry, threads, reason }: NodeRuntime & { kind: 'onnxruntime-node' },
): Promise<OrtEngine> {
  return await createOrtEngine({
    ort: await adaptNative(async () => (await load<{ default: OrtModule }>('onnxruntime-node', entry)).default),
    threads,
    info: {
      device: 'cpu',
      build: 'native',
      adapter: cpus()[0]?.model.trim() || describeHost(),
      fallbackAdapter: false,
      fp16: true,
      reason: reason ?? 'onnxruntime-node was asked for.',
    },
  })
}

/** WebGPU by Dawn, given to this thread as browsers give theirs: onnxruntime-web looks for it there. */
export async function dawn(entry: string): Promise<AdapterSource> {
  const { create, globals } = await load<DawnModule>('webgpu', entry)
  Object.assign(globalThis, globals)
  const gpu = create([])
  Object.defineProperty(navigator, 'gpu', { value: gpu, configurable: true })
  return gpu
}

/** The part of the package `webgpu` that is used. */
interface DawnModule {
  create(options: string[]): AdapterSource
  globals: Record<string, unknown>
}

async function load<T>(name: string, entry: string): Promise<T> {
  try {
    return await import(entry)
  } catch (cause) {
    throw new RpcError('unavailable', `Cannot load the package ${name}: ${entry}: ${cause}`, { cause })
  }
}
