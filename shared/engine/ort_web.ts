import { RpcError } from '../wire/errors.ts'
import type { Device } from './engine.ts'
import type { OrtModule } from './ort_runtime.ts'

/**
 * Builds of onnxruntime-web as infra/build_web.ts lays them out. `jspi` runs on WebGPU and on WASM, as fast as any and
 * alone in recovering fully from a failed run, but needs WebAssembly's promise integration. `asyncify` (WebGPU) does
 * without and is so much larger that it is shipped compressed; `wasm` is the small one for WASM alone.
 */
const BUILDS = {
  jspi: { script: 'ort.jspi.bundle.min.mjs', compressedWasm: undefined },
  asyncify: { script: 'ort.webgpu.bundle.min.mjs', compressedWasm: 'ort-wasm-simd-threaded.asyncify.wasm.gz' },
  wasm: { script: 'ort.wasm.bundle.min.mjs', compressedWasm: undefined },
} as const

export type OrtBuild = keyof typeof BUILDS

export interface LoadedOrt {
  ort: OrtModule
  build: OrtBuild
}

/**
 * Loads ONNX Runtime into a browser's page or worker.
 * @param assets where the builds lie, with a slash at the end: `/assets/ort/` made absolute
 * @param build another build than the one that fits the device and the browser best
 * @throws RpcError `unavailable` if a file cannot be fetched
 */
export async function loadOrtWeb(device: Device, assets: URL, build = bestBuild(device)): Promise<LoadedOrt> {
  const { script, compressedWasm } = BUILDS[build]
  try {
    // A run-time URL, so that bundlers leave it alone: the script finds its .wasm beside itself.
    const ort: OrtModule = await import(new URL(script, assets).href)
    // More would need cross-origin isolation, and a worker's host has other work too.
    ort.env.wasm.numThreads = 1
    if (compressedWasm) ort.env.wasm.wasmBinary = await fetchCompressed(new URL(compressedWasm, assets))
    return { ort, build }
  } catch (cause) {
    throw new RpcError('unavailable', `Cannot load ONNX Runtime: ${build} build from ${assets.href}: ${cause}`, {
      cause,
    })
  }
}

function bestBuild(device: Device): OrtBuild {
  if ('Suspending' in WebAssembly) return 'jspi'
  return device === 'webgpu' ? 'asyncify' : 'wasm'
}

async function fetchCompressed(url: URL): Promise<ArrayBuffer> {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`${url.href} answered ${response.status}`)
  const bytes = await response.arrayBuffer()
  // A server that labels the file with Content-Encoding has had it inflated on the way.
  const [first, second] = new Uint8Array(bytes)
  if (first !== 0x1f || second !== 0x8b) return bytes
  return await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer()
}
