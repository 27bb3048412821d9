/** A thread of Node or Deno that serves one engine on the port it is given as its data. */
import { workerData } from 'node:worker_threads'
import { serveEngine } from '../../shared/engine/engine_service.ts'
import { openNodeEngine } from '../../shared/engine/open_node.ts'
import type { EngineThreadData } from '../../shared/engine/spawn_node.ts'

const { port, wish, runtime } = workerData as EngineThreadData
serveEngine(openNodeEngine(wish, runtime), port)
