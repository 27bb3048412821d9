import type { PoolWorker, WorkerReply } from '../../shared/pool/pool.ts'

/**
 * A worker whose compute is simulated: runs take a fixed time each, one after the other. What has begun cannot be taken
 * back, as on a GPU; what has not begun is skipped when it is cancelled. Timers that ring late delay answers alone, not the
 * device: a run that lay ready begins where the one before ended.
 */
export function simulatedWorker(id: string, runMs: number): PoolWorker {
  const queue: { begin(atMs: number): void; cancelled: boolean }[] = []
  let busy = false
  const next = (atMs: number) => {
    const run = queue.shift()
    busy = run !== undefined
    if (run?.cancelled) next(atMs)
    else run?.begin(atMs)
  }
  return {
    id,
    name: id,
    device: 'wasm',
    run: (_model, calls, signal) =>
      new Promise<WorkerReply>((resolve, reject) => {
        const sentMs = performance.now()
        const run = {
          cancelled: false,
          begin(atMs: number) {
            const startMs = Math.max(sentMs, atMs)
            const endMs = startMs + runMs
            setTimeout(() => {
              resolve({
                calls: calls.map(({ inputs }) => ({ outputs: inputs })),
                timings: { loadMs: 0, waitMs: 0, runMs },
              })
              next(endMs)
            }, Math.max(0, endMs - performance.now()))
          },
        }
        signal.addEventListener('abort', () => {
          run.cancelled = true
          reject(signal.reason)
        }, { once: true })
        queue.push(run)
        if (!busy) next(sentMs)
      }),
  }
}
