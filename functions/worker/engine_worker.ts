/** A browser's dedicated Worker that serves one engine on the port it is given in its first message. */
import '../console/no_eval.ts'
import { serveEngine } from '../../shared/engine/engine_service.ts'
import { openEngine } from '../../shared/engine/open_engine.ts'
import { loadOrtWeb } from '../../shared/engine/ort_web.ts'
import type { EngineStart } from '../../shared/engine/spawn_web.ts'

addEventListener('message', ({ data }: MessageEvent<EngineStart>) => {
  const engine = openEngine({
    wish: data.wish,
    gpu: navigator.gpu,
    host: navigator.userAgent,
    probes: true,
    loadOrt: (device) => loadOrtWeb(device, new URL('ort/', import.meta.url), data.build),
  })
  serveEngine(engine, data.port)
}, { once: true })
