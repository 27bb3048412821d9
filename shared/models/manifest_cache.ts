import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import type { ModelManifest } from '../wire/signature.ts'

type Load = () => Promise<ModelManifest | undefined>
interface Entry {
  expiresMs: number
  manifest: Promise<ModelManifest | undefined>
  /** What `manifest` resolved with. */
  settled: ModelManifest | undefined
  /** What was last known, served if the store cannot be reached when the entry has expired. */
  lastGood: ModelManifest | undefined
}

/**
 * Manifests by model and version. Callers who ask at once share one load; the least recently used go first when full.
 * A missing model is remembered more briefly: somebody may be about to push it elsewhere.
 */
export class ManifestCache {
  readonly #clock: Clock
  /** In order of use, oldest first. */
  readonly #entries = new Map<string, Entry>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get(name: string, version: string | undefined, load: Load): Promise<ModelManifest | undefined> {
    const key = `${name}@${version ?? ''}`
    const old = this.#entries.get(key)
    this.#entries.delete(key)
    const entry = old && this.#clock.now() < old.expiresMs ? old : this.#load(key, old?.lastGood, load)
    this.#entries.set(key, entry)
    if (this.#entries.size > LIMITS.maxCachedManifests) this.#dropOldest()
    return entry.manifest
  }

  /** What `get` would give, if it is at hand. */
  peek(name: string, version: string | undefined): ModelManifest | undefined {
    const entry = this.#entries.get(`${name}@${version ?? ''}`)
    return entry && this.#clock.now() < entry.expiresMs ? entry.settled : undefined
  }

  /** Forgets every version of a model, and that it was missing. */
  forget(name: string): void {
    for (const key of this.#entries.keys()) if (key.startsWith(`${name}@`)) this.#entries.delete(key)
  }

  #load(key: string, lastGood: ModelManifest | undefined, load: Load): Entry {
    const entry: Entry = { expiresMs: Infinity, lastGood, settled: undefined, manifest: load() }
    const settle = (lifetimeMs: number) => entry.expiresMs = this.#clock.now() + lifetimeMs
    entry.manifest = entry.manifest.then(
      (manifest) => {
        settle(manifest ? DEFAULTS.manifestCacheMs : DEFAULTS.missingManifestCacheMs)
        return entry.lastGood = entry.settled = manifest
      },
      (error) => {
        settle(DEFAULTS.missingManifestCacheMs)
        if (entry.lastGood) return entry.lastGood
        if (this.#entries.get(key) === entry) this.#entries.delete(key)
        throw error
      },
    )
    return entry
  }

  #dropOldest(): void {
    for (const key of this.#entries.keys()) {
      this.#entries.delete(key)
      return
    }
  }
}
