import { decodeUtf8, encodeUtf8, readAll } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { invalid } from '../wire/errors.ts'
import type { BlobStore } from './blob_store.ts'

/** Always the newest release; nobody can move it. */
export const LATEST = 'latest'

/** An alias cannot be taken for a version: those begin with a digit. */
export function isAlias(text: string): boolean {
  return /^[a-z][a-z0-9-]*$/.test(text) && text.length <= LIMITS.maxAliasLength
}

/** @throws RpcError `invalid_argument` unless the alias can be set */
export function checkAlias(alias: string): void {
  if (isAlias(alias) && alias !== LATEST) return
  const shown = JSON.stringify(alias.slice(0, LIMITS.maxNameLength))
  throw invalid(
    `Cannot name a version: an alias must be 1 to ${LIMITS.maxAliasLength} of [a-z0-9-], begin with a letter and not be "${LATEST}", got ${shown}`,
  )
}

/** Names for versions that can be moved: `aliases/<model>/<alias>` holds the version. One object each, so none is lost. */
export class Aliases {
  readonly #blobs: BlobStore

  constructor(blobs: BlobStore) {
    this.#blobs = blobs
  }

  async get(model: string, alias: string): Promise<string | undefined> {
    const found = await this.#blobs.open(keyOf(model, alias))
    const bytes = found && await readAll(found.stream, LIMITS.maxNameLength)
    return bytes && decodeUtf8(bytes)
  }

  async set(model: string, alias: string, version: string): Promise<void> {
    await this.#blobs.put(keyOf(model, alias), encodeUtf8(version))
  }

  async delete(model: string, alias: string): Promise<void> {
    await this.#blobs.delete(keyOf(model, alias))
  }

  /** All of a model's, by alias. */
  async of(model: string): Promise<Record<string, string>> {
    return (await this.all(`${model}/`))[model] ?? {}
  }

  /** By model, then by alias. */
  async all(prefix = ''): Promise<Record<string, Record<string, string>>> {
    const models: Record<string, Record<string, string>> = Object.create(null)
    for (const key of await this.#blobs.list(`aliases/${prefix}`)) {
      const [, model = '', alias = ''] = key.split('/')
      const version = await this.get(model, alias)
      if (version !== undefined) (models[model] ??= {})[alias] = version
    }
    return models
  }
}

function keyOf(model: string, alias: string): string {
  return `aliases/${model}/${alias}`
}
