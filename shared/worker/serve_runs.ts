import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { type Log, silentLog } from '../base/log.ts'
import { Worker } from '../contracts/worker.ts'
import type { Engine, RunResult } from '../engine/engine.ts'
import { padRows, trimRows, zerosLike } from '../pool/join.ts'
import { untilAborted } from '../rpc/deadline.ts'
import type { Send } from '../rpc/send.ts'
import { createServer, implement, type Implementation } from '../rpc/server.ts'
import { RpcError } from '../wire/errors.ts'
import type { Tensor } from '../wire/tensor.ts'
import { type Held, Loads } from './loads.ts'
import type { ModelSource } from './model_source.ts'

export interface RunServer {
  /** Serves `shoal.Worker`, and the further services. */
  send: Send
  loads: Loads
}

export interface RunServerDeps {
  engine: Engine
  models: ModelSource
  clock: Clock
  log?: Log
  /** What loaded models may take together. */
  memoryBytes?: number
  /** What the worker serves beside. */
  services?: readonly Implementation[]
  /** Other models are loaded than before. */
  onChange?(): void
}

/** A worker's work: loads the model if need be, and runs it. */
export function serveRuns(deps: RunServerDeps): RunServer {
  const { engine, clock, log = silentLog } = deps
  const loads = new Loads({
    ...deps,
    memoryBytes: deps.memoryBytes ?? DEFAULTS.workerMemoryBytes,
    onChange: () => deps.onChange?.(),
    onLoaded(model, { placement, warning }) {
      if (warning !== undefined) log('warn', 'model loaded with a warning', { model, placement, reason: warning })
    },
  })
  const turns = new Turns()

  /** One run at a time: what waits here can still be cancelled, and what waits inside the engine cannot. */
  const run = async (sha256: string, inputs: Record<string, Tensor>, signal: AbortSignal): Promise<RunResult> => {
    const askedAtMs = clock.now()
    return await turns.take(signal, async () => {
      const waitMs = clock.now() - askedAtMs
      const { outputs, timings } = await engine.run(sha256, inputs)
      return { outputs, timings: { waitMs: waitMs + timings.waitMs, runMs: timings.runMs } }
    })
  }

  /** Runs on zeros, like those of a call in all but their rows. Not tied to that call: others wait for it, too. */
  const warm = async (sha256: string, like: Record<string, Tensor>, sizes: readonly number[]): Promise<void> => {
    for (const rows of sizes) {
      try {
        await run(sha256, zerosLike(like, rows), NEVER)
      } catch (thrown) {
        // Other inputs may do better, and calls find out what is wrong with the engine.
        log('warn', 'model could not be warmed up', { model: sha256, rows, reason: RpcError.from(thrown).message })
        return
      }
    }
  }

  const server = createServer([
    implement(Worker, {
      run: async ({ model, inputs: given, rows, warmUp }, { signal }) => {
        const inputs = rows === undefined ? given : padRows(given, rows)
        const startedAtMs = clock.now()
        let held = loads.hold(model)
        const ready = async (held: Held) => {
          await untilAborted(held.ready, signal)
          if (warmUp) await untilAborted(held.warm ??= warm(model, given, warmUp), signal)
        }
        try {
          await ready(held)
          let loadMs = clock.now() - startedAtMs
          let result: RunResult
          try {
            result = await run(model, inputs, signal)
          } catch (thrown) {
            if (!(thrown instanceof RpcError) || thrown.code !== 'not_found') throw thrown
            // The engine was restarted since and starts empty.
            loads.forget(held)
            loads.release(held)
            held = loads.hold(model)
            const againAtMs = clock.now()
            await ready(held)
            loadMs += clock.now() - againAtMs
            result = await run(model, inputs, signal)
          }
          const outputs = rows === undefined ? result.outputs : trimRows(result.outputs, rows)
          return { outputs, timings: { loadMs, ...result.timings } }
        } finally {
          loads.release(held)
        }
      },
    }),
    ...deps.services ?? [],
  ])
  return { send: server, loads }
}

const NEVER = new AbortController().signal

/** A queue for one device, which those may leave who have not begun. */
class Turns {
  #last: Promise<void> = Promise.resolve()

  async take<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const before = this.#last
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#last = promise
    try {
      await untilAborted(before, signal)
      return await work()
    } finally {
      // Whoever leaves early hands on the place of the one before.
      void before.then(resolve)
    }
  }
}
