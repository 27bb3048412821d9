import type { DeviceWish } from './detect.ts'
import type { Thread } from './engine_thread.ts'
import type { OrtBuild } from './ort_web.ts'

/** The first message to an engine thread: the port to serve on, transferred, and what to open. */
export interface EngineStart {
  port: MessagePort
  wish: DeviceWish
  /** Another build than the best one. */
  build?: OrtBuild
}

/**
 * Starts a dedicated Worker, in a browser.
 * @param url the bundled functions/worker/engine_worker.ts, of the page's own origin
 */
export function spawnEngineWorker(url: URL | string, start: Omit<EngineStart, 'port'>): Promise<Thread> {
  const worker = new Worker(url, { type: 'module', name: 'shoal-engine' })
  const { port1, port2 } = new MessageChannel()
  const exited = new Promise<string>((resolve) => {
    // A Worker tells of its errors, not of its end: whatever goes uncaught there counts as one.
    worker.addEventListener('error', (event) => resolve(event.message || 'its script could not be loaded'))
    worker.addEventListener('messageerror', () => resolve('it sent what cannot be read'))
  })
  worker.postMessage({ ...start, port: port2 } satisfies EngineStart, [port2])
  return Promise.resolve({ port: port1, exited, terminate: () => worker.terminate() })
}
