import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { Worker } from '../contracts/worker.ts'
import type { Engine, RunResult } from '../engine/engine.ts'
import { padRows, trimRows } from '../pool/join.ts'
import { Deadline, untilAborted } from '../rpc/deadline.ts'
import type { Send } from '../rpc/send.ts'
import { createServer, implement, type Implementation } from '../rpc/server.ts'
import { RpcError } from '../wire/errors.ts'
import type { Tensor } from '../wire/tensor.ts'
import { openModel } from './model_files.ts'
import type { ModelSource } from './model_source.ts'

export interface RunServer {
  /** Serves `shoal.Worker`, and the further services. */
  send: Send
  /** Hashes of the models loaded now. */
  loaded(): string[]
}

/**
 * A worker's work: loads the model if need be, and runs it.
 * @param services what the worker serves beside
 */
export function serveRuns(
  engine: Engine,
  models: ModelSource,
  clock: Clock,
  services: readonly Implementation[] = [],
): RunServer {
  const loads = new Loads(engine, models, clock)
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

  const server = createServer([
    implement(Worker, {
      run: async ({ model, inputs: given, rows }, { signal }) => {
        const inputs = rows === undefined ? given : padRows(given, rows)
        const startedAtMs = clock.now()
        const load = loads.of(model)
        await untilAborted(load, signal)
        let loadMs = clock.now() - startedAtMs
        let result: RunResult
        try {
          result = await run(model, inputs, signal)
        } catch (thrown) {
          if (!(thrown instanceof RpcError) || thrown.code !== 'not_found') throw thrown
          // The engine was restarted since and starts empty.
          loads.forget(model, load)
          const againAtMs = clock.now()
          await untilAborted(loads.of(model), signal)
          loadMs += clock.now() - againAtMs
          result = await run(model, inputs, signal)
        }
        const outputs = rows === undefined ? result.outputs : trimRows(result.outputs, rows)
        return { outputs, timings: { loadMs, ...result.timings } }
      },
    }),
    ...services,
  ])
  return { send: server, loaded: () => loads.done() }
}

/** Loads of models, each under way or done: however many calls want one, it is loaded once. */
class Loads {
  readonly #engine: Engine
  readonly #models: ModelSource
  readonly #clock: Clock
  readonly #loads = new Map<string, Promise<void>>()
  readonly #done = new Set<string>()

  constructor(engine: Engine, models: ModelSource, clock: Clock) {
    this.#engine = engine
    this.#models = models
    this.#clock = clock
  }

  of(sha256: string): Promise<void> {
    let load = this.#loads.get(sha256)
    if (!load) {
      load = this.#load(sha256)
      this.#loads.set(sha256, load)
      load.then(() => this.#done.add(sha256), () => this.forget(sha256, load))
    }
    return load
  }

  /** Drops a load that failed or is no longer true, unless another has taken its place. */
  forget(sha256: string, load: Promise<void> | undefined): void {
    if (this.#loads.get(sha256) !== load) return
    this.#loads.delete(sha256)
    this.#done.delete(sha256)
  }

  done(): string[] {
    return [...this.#done]
  }

  /** Not tied to the call that asked first: others wait for the same load, and the next call will want it. */
  async #load(sha256: string): Promise<void> {
    using deadline = new Deadline(this.#clock, DEFAULTS.modelLoadTimeoutMs)
    const { model, external } = await untilAborted(openModel(this.#models, sha256, deadline.signal), deadline.signal)
    await this.#engine.load(sha256, model, external && { external })
  }
}

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
