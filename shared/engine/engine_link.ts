import { type Clock, sleep, systemClock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { type Log, silentLog } from '../base/log.ts'
import { fullJitterMs, type Random } from '../base/random.ts'
import { RpcError } from '../wire/errors.ts'
import type { Tensor } from '../wire/tensor.ts'
import type { DeviceInfo, Engine, LoadedModel, LoadOptions, RunResult } from './engine.ts'
import { modelParts } from './engine_service.ts'
import { EngineThread, stopped, type Thread, type ThreadOptions } from './engine_thread.ts'

export interface LinkOptions {
  /** Makes a fresh thread; called again after each loss. */
  spawn(): Promise<Thread>
  /** While runs or loads are in flight, one must finish within this time, or the thread is taken for stuck. */
  runTimeoutMs?: number
  startTimeoutMs?: number
  clock?: Clock
  random?: Random
  log?: Log
}

/**
 * Starts an engine in another thread and keeps it going: when its device is lost, its thread ends or it is stuck, the
 * thread is terminated and a fresh one started, after a full-jitter back-off. Until then calls answer `unavailable`,
 * as did those in flight; nothing is retried here, since the pool can do so on another worker. A fresh thread has no
 * models: whoever loaded them hears of it through `onRestart` and loads them again.
 * @throws RpcError whatever keeps the first thread from starting
 */
export async function linkEngine(options: LinkOptions): Promise<LinkedEngine> {
  const { clock = systemClock, random = Math.random, log = silentLog } = options
  const { runTimeoutMs = DEFAULTS.runTimeoutMs, startTimeoutMs = DEFAULTS.engineStartTimeoutMs } = options
  const threadOptions = { spawn: options.spawn, runTimeoutMs, startTimeoutMs, clock }
  const { engine, info } = await EngineThread.start(threadOptions)
  return new LinkedEngine({ ...threadOptions, random, log }, engine, info)
}

type Settings = ThreadOptions & { random: Random; log: Log }

/** An engine in another thread that outlives the thread. Made by `linkEngine`. */
export class LinkedEngine implements Engine {
  readonly #settings: Settings
  readonly #closing = new AbortController()
  readonly #listeners = new Set<(info: DeviceInfo) => void>()
  /** Loads under way, by key: the pieces of two uploads of one model must not mix. */
  readonly #loads = new Map<string, Promise<LoadedModel>>()
  #thread: EngineThread
  #info: DeviceInfo
  /** Threads lost since the last run that succeeded: a model that kills each of them is not restarted in a tight loop. */
  #losses = 0

  constructor(settings: Settings, thread: EngineThread, info: DeviceInfo) {
    this.#settings = settings
    this.#thread = thread
    this.#info = info
    void this.#keepGoing()
  }

  /** Of the thread in use, or, between two threads, of the last one. */
  get info(): DeviceInfo {
    return this.#info
  }

  /** Calls `listener` whenever a fresh thread without models is ready. Returns a function that stops it. */
  onRestart(listener: (info: DeviceInfo) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  load(key: string, model: Uint8Array, { trusted, external }: LoadOptions = {}): Promise<LoadedModel> {
    let loading = this.#loads.get(key)
    if (!loading) {
      loading = this.#thread.use(async (engine) => {
        for (const part of modelParts(model, external)) await engine.append({ key, ...part })
        return await engine.load({ key, trusted })
      }).finally(() => this.#loads.delete(key))
      this.#loads.set(key, loading)
    }
    return loading
  }

  async run(key: string, inputs: Record<string, Tensor>): Promise<RunResult> {
    const result = await this.#thread.use((engine) => engine.run({ key, inputs }))
    this.#losses = 0
    return result
  }

  async unload(key: string): Promise<void> {
    await this.#thread.use((engine) => engine.unload({ key }))
  }

  close(): Promise<void> {
    this.#closing.abort(stopped('it was closed', { neverSent: true }))
    this.#thread.end('it was closed')
    return Promise.resolve()
  }

  async #keepGoing(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      const reason = await this.#thread.ended
      if (signal.aborted) return
      this.#settings.log('error', 'engine lost', { device: this.#info.device, reason })
      await this.#restart(signal).catch((thrown) => {
        if (!signal.aborted) throw thrown
      })
    }
  }

  async #restart(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#settings
    for (;;) {
      const backOff = { baseMs: DEFAULTS.reconnectBaseMs, capMs: DEFAULTS.reconnectCapMs }
      await sleep(clock, fullJitterMs(this.#losses++, backOff, random), signal)
      try {
        const { engine, info } = await EngineThread.start(this.#settings)
        if (signal.aborted) return engine.end('it was closed')
        this.#thread = engine
        this.#info = info
        log('info', 'engine restarted', { device: info.device, reason: info.reason })
        for (const listener of this.#listeners) listener(info)
        return
      } catch (thrown) {
        log('error', 'engine did not restart', { reason: RpcError.from(thrown).message })
      }
    }
  }
}
