import { Worker } from 'node:worker_threads'
import type { DeviceWish } from './detect.ts'
import type { Thread } from './engine_thread.ts'
import type { NodeRuntime } from './open_node.ts'

export interface EngineThreadData {
  port: MessagePort
  wish: DeviceWish
  runtime: NodeRuntime
}

/**
 * Starts a worker thread, in Node or Deno.
 * @param url functions/worker/engine_thread.ts
 */
export function spawnEngineThread(
  url: URL,
  wish: DeviceWish,
  runtime: NodeRuntime = { kind: 'web' },
): Promise<Thread> {
  const { port1, port2 } = new MessageChannel()
  const workerData: EngineThreadData = { port: port2, wish, runtime }
  const worker = new Worker(url, { workerData, transferList: [port2 as never], name: 'engine' })
  const exited = new Promise<string>((resolve) => {
    worker.once('error', (error) => resolve(error instanceof Error ? error.message : String(error)))
    worker.once('exit', (code) => resolve(`exit code ${code}`))
  })
  return Promise.resolve({ port: port1, exited, terminate: () => worker.terminate() })
}
