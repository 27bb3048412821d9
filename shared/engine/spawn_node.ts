import { Worker } from 'node:worker_threads'
import type { DeviceWish } from './detect.ts'
import type { Thread } from './engine_thread.ts'

export interface EngineThreadData {
  port: MessagePort
  wish: DeviceWish
}

/**
 * Starts a worker thread, in Node or Deno.
 * @param url functions/worker/engine_thread.ts
 */
export function spawnEngineThread(url: URL, wish: DeviceWish): Promise<Thread> {
  const { port1, port2 } = new MessageChannel()
  const worker = new Worker(url, { workerData: { port: port2, wish }, transferList: [port2 as never], name: 'engine' })
  const exited = new Promise<string>((resolve) => {
    worker.once('error', (error) => resolve(error instanceof Error ? error.message : String(error)))
    worker.once('exit', (code) => resolve(`exit code ${code}`))
  })
  return Promise.resolve({ port: port1, exited, terminate: () => worker.terminate() })
}
