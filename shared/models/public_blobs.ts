import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'

/**
 * The blobs that some public version has. True for DEFAULTS.manifestCacheMs after it last was, false for
 * DEFAULTS.missingManifestCacheMs: to ask for blobs that there are not must not cost a reading of all manifests each.
 */
export class PublicBlobs {
  readonly #clock: Clock
  readonly #read: () => Promise<readonly string[]>
  #known: { blobs: ReadonlySet<string>; readMs: number } | undefined
  /** Shared by all who ask meanwhile. */
  #reading: Promise<ReadonlySet<string>> | undefined

  /** @param read all of them, from the store */
  constructor(clock: Clock, read: () => Promise<readonly string[]>) {
    this.#clock = clock
    this.#read = read
  }

  async has(sha256: string): Promise<boolean> {
    const known = this.#known
    const isIn = known?.blobs.has(sha256) ?? false
    const ageMs = known ? this.#clock.now() - known.readMs : Infinity
    if (ageMs < (isIn ? DEFAULTS.manifestCacheMs : DEFAULTS.missingManifestCacheMs)) return isIn
    this.#reading ??= this.#refresh().finally(() => this.#reading = undefined)
    return (await this.#reading).has(sha256)
  }

  /** Something has changed: it is read anew. */
  forget(): void {
    this.#known = undefined
  }

  async #refresh(): Promise<ReadonlySet<string>> {
    const readMs = this.#clock.now()
    const blobs = new Set(await this.#read())
    this.#known = { blobs, readMs }
    return blobs
  }
}
