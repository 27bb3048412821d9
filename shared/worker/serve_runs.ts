import type { Clock } from '../base/clock.ts'
import { Worker } from '../contracts/worker.ts'
import type { Engine, RunResult } from '../engine/engine.ts'
import { cutCalls, joinCalls } from '../pool/join.ts'
import { createServer, implement } from '../rpc/server.ts'
import type { Send } from '../rpc/send.ts'
import { RpcError } from '../wire/errors.ts'
import type { Tensor } from '../wire/tensor.ts'
import type { ModelSource } from './model_source.ts'

export interface RunServer {
  /** Serves `shoal.Worker`. */
  send: Send
  /** Models loaded now. */
  loaded(): string[]
}

/** A worker's work: loads the model if need be, joins the calls into one run, cuts its outputs apart again. */
export function serveRuns(engine: Engine, models: ModelSource, clock: Clock): RunServer {
  const loading = new Map<string, Promise<void>>()

  const ensureLoaded = (sha256: string, signal: AbortSignal): Promise<void> => {
    let load = loading.get(sha256)
    if (!load) {
      // Not tied to the call that asked first: others wait for the same load, and the next call will want it.
      load = models.get(sha256, AbortSignal.timeout(LOAD_TIMEOUT_MS)).then(async (bytes) =>
        void await engine.load(sha256, bytes)
      )
      loading.set(sha256, load)
      load.catch(() => loading.delete(sha256))
    }
    signal.throwIfAborted()
    return load
  }

  const runLoaded = async (sha256: string, inputs: Record<string, Tensor>, signal: AbortSignal): Promise<RunResult> => {
    await ensureLoaded(sha256, signal)
    try {
      return await engine.run(sha256, inputs)
    } catch (thrown) {
      if (!(thrown instanceof RpcError) || thrown.code !== 'not_found') throw thrown
      // The engine was restarted since and starts empty.
      loading.delete(sha256)
      await ensureLoaded(sha256, signal)
      return await engine.run(sha256, inputs)
    }
  }

  const server = createServer([
    implement(Worker, {
      run: async ({ model, calls }, { signal }) => {
        const startedAtMs = clock.now()
        await ensureLoaded(model, signal)
        const loadMs = clock.now() - startedAtMs
        const { inputs, rows } = joinCalls(calls)
        const { outputs, timings } = await runLoaded(model, inputs, signal)
        return { calls: cutCalls(outputs, rows), timings: { loadMs, ...timings } }
      },
    }),
  ])
  return { send: server, loaded: () => [...loading.keys()] }
}

/** Fetching and compiling a model of the largest size over a slow link. */
const LOAD_TIMEOUT_MS = 600_000
