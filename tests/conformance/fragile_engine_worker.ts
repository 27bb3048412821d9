/** functions/worker/engine_worker.ts with a hook: a message on the channel `fragile` destroys the WebGPU device. */
import { serveEngine } from '../../shared/engine/engine_service.ts'
import { openEngine } from '../../shared/engine/open_engine.ts'
import { loadOrtWeb } from '../../shared/engine/ort_web.ts'
import type { EngineStart } from '../../shared/engine/spawn_web.ts'

addEventListener('message', ({ data }: MessageEvent<EngineStart>) => {
  const loadOrt = async (device: 'webgpu' | 'wasm') => {
    const loaded = await loadOrtWeb(device, new URL('ort/', import.meta.url))
    new BroadcastChannel('fragile').onmessage = async () => (await loaded.ort.env.webgpu.device).destroy()
    return loaded
  }
  serveEngine(openEngine({ wish: data.wish, gpu: navigator.gpu, host: navigator.userAgent, loadOrt }), data.port)
}, { once: true })
