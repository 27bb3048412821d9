import type { Device } from './engine.ts'
import type { OrtModule } from './ort_runtime.ts'

export type NodeBuild = 'jspi' | 'wasm'

/**
 * Loads ONNX Runtime in Node or Deno, from node_modules. `jspi` runs on WASM, and on WebGPU where the host provides
 * `navigator.gpu`: Deno does; Node does with the package `webgpu`.
 * @param build another build than the best one
 */
export async function loadOrtNode(_device: Device, build = bestBuild()): Promise<{ ort: OrtModule; build: NodeBuild }> {
  const ort: OrtModule = build === 'jspi' ? await import('onnxruntime-web/jspi') : await import('onnxruntime-web/wasm')
  // One thread: a host runs one engine per thread, and these builds' own threads do not work outside browsers.
  ort.env.wasm.numThreads = 1
  return { ort, build }
}

function bestBuild(): NodeBuild {
  return 'Suspending' in WebAssembly ? 'jspi' : 'wasm'
}

/** The machine in a few words: `Node.js/24 linux x64`. */
export function describeHost(): string {
  const platform = typeof process === 'undefined' ? '' : ` ${process.platform} ${process.arch}`
  return `${navigator.userAgent}${platform}`
}
