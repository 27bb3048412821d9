import { RpcError } from '../wire/errors.ts'
import type { Device } from './engine.ts'
import type { OrtModule } from './ort_runtime.ts'

export type NodeBuild = 'jspi' | 'wasm'

/**
 * Loads ONNX Runtime in Node or Deno, from node_modules. `jspi` runs on WASM, and on WebGPU where the host provides
 * `navigator.gpu`: Deno does; Node does with the package `webgpu`.
 * @param build another build than the best one
 */
export async function loadOrtNode(_device: Device, build = bestBuild()): Promise<{ ort: OrtModule; build: NodeBuild }> {
  try {
    const ort = await withoutFileLocation<OrtModule>(() =>
      build === 'jspi' ? import('onnxruntime-web/jspi') : import('onnxruntime-web/wasm')
    )
    // One thread: a host runs one engine per thread, and these builds' own threads do not work outside browsers.
    ort.env.wasm.numThreads = 1
    return { ort, build }
  } catch (cause) {
    throw new RpcError('unavailable', `Cannot load ONNX Runtime: ${build} build from node_modules: ${cause}`, { cause })
  }
}

/**
 * A thread of Deno has a file as its location, whose origin is the text 'null'; ONNX Runtime would take that for the
 * base of its own URLs. Without a location it does as in Node.
 */
async function withoutFileLocation<T>(load: () => Promise<T>): Promise<T> {
  const location = Object.getOwnPropertyDescriptor(globalThis, 'location')
  if (globalThis.location?.origin !== 'null' || !location?.configurable) return await load()
  Object.defineProperty(globalThis, 'location', { value: undefined, configurable: true })
  try {
    return await load()
  } finally {
    Object.defineProperty(globalThis, 'location', location)
  }
}

function bestBuild(): NodeBuild {
  return 'Suspending' in WebAssembly ? 'jspi' : 'wasm'
}

/** The machine in a few words: `Node.js/24 linux x64`. */
export function describeHost(): string {
  const platform = typeof process === 'undefined' ? '' : ` ${process.platform} ${process.arch}`
  return `${navigator.userAgent}${platform}`
}
