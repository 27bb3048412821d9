import { decodeUtf8, encodeUtf8, readAll } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { compareVersions } from '../base/version.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import type { ModelManifest } from '../wire/signature.ts'
import type { BlobStore } from './blob_store.ts'

/** Manifests read at once by `all`: a Worker may have six connections open. */
const LIST_CONCURRENCY = 6

/** What is known of each version of each model, in `models/<name>/<version>.json` of a blob store. */
export class Manifests {
  readonly #blobs: BlobStore

  constructor(blobs: BlobStore) {
    this.#blobs = blobs
  }

  async read(name: string, version: string): Promise<ModelManifest | undefined> {
    const manifest = await this.#readKey(keyOf(name, version))
    // A file system that ignores case finds one model under another's name.
    return manifest?.name === name && manifest.version === version ? manifest : undefined
  }

  /** Every version of every model, by name, oldest version first. */
  async all(): Promise<ModelManifest[]> {
    const keys = await this.#blobs.list('models/')
    const manifests: ModelManifest[] = []
    for (let i = 0; i < keys.length; i += LIST_CONCURRENCY) {
      const page = keys.slice(i, i + LIST_CONCURRENCY).map((key) => this.#readKey(key))
      for (const manifest of await Promise.all(page)) if (manifest) manifests.push(manifest)
    }
    return manifests.sort((a, b) => compareText(a.name, b.name) || compareVersions(a.version, b.version))
  }

  /** Versions of a model, the oldest first. */
  async versions(name: string): Promise<string[]> {
    const prefix = `models/${name}/`
    return (await this.#blobs.list(prefix)).map((key) => key.slice(prefix.length, -'.json'.length)).sort(
      compareVersions,
    )
  }

  /** @throws RpcError `invalid_argument` if it is too long, and nothing is written */
  async put(manifest: ModelManifest): Promise<void> {
    await this.#blobs.put(keyOf(manifest.name, manifest.version), encodeManifest(manifest))
  }

  /** @param json the manifest, encoded. @returns whether there was none before */
  putIfAbsent({ name, version }: ModelManifest, json: Uint8Array): Promise<boolean> {
    return this.#blobs.putIfAbsent(keyOf(name, version), json)
  }

  delete(name: string, version: string): Promise<void> {
    return this.#blobs.delete(keyOf(name, version))
  }

  async #readKey(key: string): Promise<ModelManifest | undefined> {
    const found = await this.#blobs.open(key)
    if (!found) return undefined
    const bytes = await readAll(found.stream, LIMITS.maxManifestBytes)
    try {
      return JSON.parse(decodeUtf8(bytes ?? encodeUtf8(''))) as ModelManifest
    } catch (cause) {
      throw new RpcError('data_loss', `Cannot read the manifest ${key}: it must be JSON`, { cause })
    }
  }
}

/** @throws RpcError `invalid_argument` if it is too long */
export function encodeManifest(manifest: ModelManifest): Uint8Array {
  const json = encodeUtf8(JSON.stringify(manifest, undefined, 2))
  if (json.length <= LIMITS.maxManifestBytes) return json
  throw invalid(
    `Cannot keep the model: its manifest must have at most ${LIMITS.maxManifestBytes} bytes, got ${json.length} (fewer inputs, outputs or labels)`,
  )
}

function keyOf(name: string, version: string): string {
  return `models/${name}/${version}.json`
}

function compareText(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0
}
