import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import type { Engine, LoadedModel } from '../engine/engine.ts'
import { Deadline, untilAborted } from '../rpc/deadline.ts'
import { openModel } from './model_files.ts'
import type { ModelSource } from './model_source.ts'

export interface LoadsDeps {
  engine: Engine
  models: ModelSource
  clock: Pick<Clock, 'now' | 'after'>
  /** What loaded models may take together. */
  memoryBytes: number
  /** Other models are loaded than before. */
  onChange(): void
  /** A model was loaded, and how. */
  onLoaded(sha256: string, loaded: LoadedModel): void
}

/** A model that is loaded or about to be. */
export interface Held {
  readonly sha256: string
  readonly ready: Promise<void>
  loaded: boolean
  /** What it takes, as far as is known. */
  bytes: number
  /** Runs that need it. */
  users: number
  /** Settles when it has been warmed up, if anyone asked for that. */
  warm?: Promise<void>
}

/** What a loaded model takes for each byte of its file: its weights as the runtime keeps them, and on the device. */
const BYTES_PER_FILE_BYTE = 2

/** Bytes of the largest model, all its files together, that so much memory holds. */
export function largestModel(memoryBytes: number): number {
  return Math.max(1, Math.floor(memoryBytes / BYTES_PER_FILE_BYTE))
}

/**
 * Loads of models, each under way or done: however many calls want one, it is loaded once. Where memory runs short those go
 * that were not used for longest, but none that a run needs: these may take more than there is for a while.
 */
export class Loads {
  readonly #deps: LoadsDeps
  /** The longest unused first. */
  readonly #held = new Map<string, Held>()
  #usedBytes = 0

  constructor(deps: LoadsDeps) {
    this.#deps = deps
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Hashes of those loaded now, the longest unused first. */
  get loaded(): string[] {
    return [...this.#held.values()].filter(({ loaded }) => loaded).map(({ sha256 }) => sha256)
  }

  /** Keeps a model until it is released as often as it was held. Await `ready` before it is used. */
  hold(sha256: string): Held {
    let held = this.#held.get(sha256)
    // Put at the end: the last used.
    if (held) this.#held.delete(sha256)
    else held = this.#begin(sha256)
    this.#held.set(sha256, held)
    held.users++
    return held
  }

  release(held: Held): void {
    held.users--
    if (this.#usedBytes > this.#deps.memoryBytes) void this.#makeRoom(0)
  }

  /** Drops a load that failed or is no longer true, unless another has taken its place. */
  forget(held: Held): void {
    if (this.#held.get(held.sha256) !== held) return
    this.#held.delete(held.sha256)
    this.#usedBytes -= held.bytes
    if (held.loaded) this.#deps.onChange()
  }

  #begin(sha256: string): Held {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const held: Held = { sha256, ready: promise, loaded: false, bytes: 0, users: 0 }
    promise.catch(() => {})
    this.#load(held).then(resolve, (thrown) => {
      this.forget(held)
      reject(thrown)
    })
    return held
  }

  /** Not tied to the call that asked first: others wait for the same load, and the next call will want it. */
  async #load(held: Held): Promise<void> {
    const { clock, models, engine } = this.#deps
    using deadline = new Deadline(clock, DEFAULTS.modelLoadTimeoutMs)
    const { model, external } = await untilAborted(openModel(models, held.sha256, deadline.signal), deadline.signal)
    const takes = BYTES_PER_FILE_BYTE * sizeOf(model, external)
    await this.#makeRoom(takes)
    held.bytes = takes
    this.#usedBytes += takes
    const loaded = await engine.load(held.sha256, model, external && { external })
    held.loaded = true
    this.#deps.onLoaded(held.sha256, loaded)
    this.#deps.onChange()
  }

  async #makeRoom(bytes: number): Promise<void> {
    for (const held of [...this.#held.values()]) {
      if (this.#usedBytes + bytes <= this.#deps.memoryBytes) return
      if (!held.loaded || held.users > 0) continue
      this.forget(held)
      // One that cannot be unloaded went with its engine.
      await this.#deps.engine.unload(held.sha256).catch(() => {})
    }
  }
}

function sizeOf(model: Uint8Array, external: readonly { data: Uint8Array }[] = []): number {
  return external.reduce((sum, { data }) => sum + data.byteLength, model.byteLength)
}
