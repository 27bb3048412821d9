/** A thread of Node or Deno that serves one engine on the port it is given as its data. */
import { workerData } from 'node:worker_threads'
import { serveEngine } from '../../shared/engine/engine_service.ts'
import { openEngine } from '../../shared/engine/open_engine.ts'
import { describeHost, loadOrtNode } from '../../shared/engine/ort_node.ts'
import type { EngineThreadData } from '../../shared/engine/spawn_node.ts'

const { port, wish } = workerData as EngineThreadData
serveEngine(openEngine({ wish, gpu: navigator.gpu, host: describeHost(), loadOrt: loadOrtNode }), port)
