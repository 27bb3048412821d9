import { sha256Hex } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../base/limits.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import type { ModelManifest } from '../wire/signature.ts'
import { Aliases, checkAlias, isAlias, LATEST } from './aliases.ts'
import type { BlobRange, BlobStore } from './blob_store.ts'
import { bytesOf, piecesOf, readBundle } from './bundle.ts'
import { readLeanModel } from './lean_model.ts'
import { ManifestCache } from './manifest_cache.ts'
import { encodeManifest, Manifests } from './manifests.ts'
import { checkName, checkVersion } from './model_names.ts'
import { type ModelOptions, withOptions } from './model_options.ts'
import { fileInPieces, requirePieces } from './pieces.ts'
import { PublicBlobs } from './public_blobs.ts'
import { readSignature } from './signature.ts'
import type { ModelTraits } from './traits.ts'

/**
 * The registry of models on a blob store: `blobs/<sha256>` holds the bytes, `models/<name>/<version>.json` what is
 * known of them. The bytes of a version, once pushed, never change; what is said of them may.
 */
export class ModelCatalog {
  readonly #blobs: BlobStore
  readonly #clock: Clock
  readonly #manifests: Manifests
  readonly #cache: ManifestCache
  readonly #aliases: Aliases
  readonly #public: PublicBlobs

  constructor(blobs: BlobStore, options: { clock: Clock }) {
    this.#blobs = blobs
    this.#aliases = new Aliases(blobs)
    this.#manifests = new Manifests(blobs)
    this.#clock = options.clock
    this.#cache = new ManifestCache(options.clock)
    this.#public = new PublicBlobs(options.clock, async () => {
      const models = await this.list()
      return models.filter(({ visibility }) => visibility === 'public').flatMap(blobsOf)
    })
  }

  /**
   * Checks a model and stores it.
   * @param bytes an ONNX file, or a bundle (bundle.ts) whose pieces are stored already. Pushing the same bytes again is no error and changes nothing, options included.
   * @param version a whole number or a semantic version; a leading 'v' is not part of it
   * @throws RpcError `invalid_argument` for a bad name, version or file; `already_exists` if that version has other bytes
   */
  async push(
    name: string,
    version: string,
    bytes: Uint8Array,
    options: ModelOptions = {},
  ): Promise<ModelManifest> {
    checkName('push', name)
    checkVersion('push', version)
    if (bytes.length > LIMITS.maxModelBytes) {
      throw invalid(`Cannot push the model: it must have at most ${LIMITS.maxModelBytes} bytes, got ${bytes.length}`)
    }
    const described = await this.#describe(bytes)
    const manifest = withOptions({
      name,
      version,
      sha256: await sha256Hex(bytes),
      ...described,
      createdAt: new Date(this.#clock.now()).toISOString(),
    }, options)
    const stored = await this.#manifests.read(name, version) ?? await this.#store(manifest, bytes)
    if (stored.sha256 !== manifest.sha256) {
      throw new RpcError(
        'already_exists',
        `Cannot push "${name}" version ${version}: it exists with other bytes (push another version, for example ${await this
          .#freeVersion(name)})`,
      )
    }
    this.#forget(name)
    return stored
  }

  /** What a model's file says, or a bundle's, whose weights are not read. */
  async #describe(bytes: Uint8Array): Promise<Described> {
    const bundle = readBundle(bytes)
    if (!bundle) return { bytes: bytes.length, ...readSignature(bytes) }
    await requirePieces(this.#blobs, bundle)
    const external = new Map(bundle.external.map((file) => [file.path, file.bytes]))
    const lean = await readLeanModel(fileInPieces(this.#blobs, bundle.model))
    return {
      bytes: bytesOf(bundle),
      ...readSignature(lean, external),
      files: [bundle.model, ...bundle.external].map((file) => ({ path: file.path, bytes: file.bytes })),
      pieces: [...new Set(piecesOf(bundle).map((piece) => piece.sha256))],
    }
  }

  /**
   * A model's manifest, from memory where it was asked for within DEFAULTS.manifestCacheMs.
   * @param version or an alias; the newest release if none is named (a pre-release only where there is nothing else)
   * @returns undefined if there is no such model or version
   * @throws RpcError `invalid_argument` if the name or version cannot be one
   */
  async find(name: string, version?: string): Promise<ModelManifest | undefined> {
    checkName('find', name)
    const alias = version !== undefined && isAlias(version)
    if (version !== undefined && !alias) checkVersion('find', version)
    return await this.#cache.get(name, version, async () => {
      const wanted = version === undefined || version === LATEST
        ? newest(await this.#manifests.versions(name))
        : alias
        ? await this.#aliases.get(name, version)
        : version
      return wanted === undefined ? undefined : await this.#manifests.read(name, wanted)
    })
  }

  /** What `find` would give, if it is in memory: most calls are spared a turn by it. */
  peek(name: string, version?: string): ModelManifest | undefined {
    return this.#cache.peek(name, version)
  }

  /** Every version of every model, by name, oldest version first. Read anew from the store. */
  list(): Promise<ModelManifest[]> {
    return this.#manifests.all()
  }

  /**
   * Changes what is said of a version. Other gateways follow within DEFAULTS.manifestCacheMs.
   * @throws RpcError `not_found` if there is no such version, `invalid_argument` for options that do not fit the model
   */
  async amend(name: string, version: string, options: ModelOptions): Promise<ModelManifest> {
    const amended = withOptions(await this.#require('change', name, version), options)
    await this.#manifests.put(amended)
    this.#forget(name)
    return amended
  }

  /** Whether volunteers may have a blob: some public version has it. Changes show as in PublicBlobs. */
  isPublic(sha256: string): Promise<boolean> {
    return this.#public.has(sha256)
  }

  /** What is known of a model has changed here: it is read anew. */
  #forget(name: string): void {
    this.#cache.forget(name)
    this.#public.forget()
  }

  /** Names of versions that can be moved, by model. */
  aliases(): Promise<Record<string, Record<string, string>>> {
    return this.#aliases.all()
  }

  /** Gives a version a name, or moves it there. @throws RpcError `not_found` if there is no such version */
  async setAlias(name: string, alias: string, version: string): Promise<void> {
    checkAlias(alias)
    await this.#require('name', name, version)
    await this.#aliases.set(name, alias, version)
    this.#forget(name)
  }

  /** A missing alias is no error. */
  async deleteAlias(name: string, alias: string): Promise<void> {
    checkName('find', name)
    checkAlias(alias)
    await this.#aliases.delete(name, alias)
    this.#forget(name)
  }

  /**
   * Removes a version, or all of a model, and the bytes that no other version has. Workers that have it loaded may serve it
   * for DEFAULTS.manifestCacheMs more, to callers of gateways that know it.
   * @throws RpcError `not_found` if there is none, `failed_precondition` if an alias names the version
   */
  async delete(name: string, version?: string): Promise<ModelManifest[]> {
    checkName('delete', name)
    const aliases = await this.#aliases.of(name)
    const all = version === undefined ? await this.#manifests.versions(name) : [version]
    const removed = await Promise.all(all.map((one) => this.#require('delete', name, one)))
    if (removed.length === 0) throw new RpcError('not_found', `Cannot delete model "${name}": there is none`)
    const named = Object.keys(aliases).filter((alias) => aliases[alias] === version)
    if (named.length > 0) {
      throw new RpcError(
        'failed_precondition',
        `Cannot delete "${name}" version ${version}: no alias may name it, got ${named.join(', ')} (move it first)`,
      )
    }
    if (version === undefined) await Promise.all(Object.keys(aliases).map((alias) => this.#aliases.delete(name, alias)))
    for (const one of all) await this.#manifests.delete(name, one)
    this.#forget(name)
    const used = new Set((await this.list()).flatMap(blobsOf))
    for (const sha256 of new Set(removed.flatMap(blobsOf))) {
      if (!used.has(sha256)) await this.#blobs.delete(`blobs/${sha256}`)
    }
    return removed
  }

  async #require(action: string, name: string, version: string): Promise<ModelManifest> {
    checkName('find', name)
    checkVersion('find', version)
    const manifest = await this.#manifests.read(name, version)
    if (manifest) return manifest
    throw new RpcError('not_found', `Cannot ${action} "${name}" version ${version}: it was never pushed`)
  }

  /**
   * The bytes of a model. Whoever loads them compares their SHA-256 with the one asked for.
   * @throws RpcError `invalid_argument` unless `sha256` is 64 lower-case hex digits
   */
  async openBlob(
    sha256: string,
    range?: BlobRange,
  ): Promise<{ size: number; stream: ReadableStream<Uint8Array> } | undefined> {
    if (!/^[0-9a-f]{64}$/.test(sha256)) {
      throw invalid(`Cannot open a blob: its id must be 64 lower-case hex digits, got ${JSON.stringify(sha256)}`)
    }
    return await this.#blobs.open(`blobs/${sha256}`, range)
  }

  /** Writes the blob before the manifest, so that a manifest always has its blob. @returns what stands there now */
  async #store(manifest: ModelManifest, bytes: Uint8Array): Promise<ModelManifest> {
    const json = encodeManifest(manifest)
    await this.#blobs.putIfAbsent(`blobs/${manifest.sha256}`, bytes)
    const isNew = await this.#manifests.putIfAbsent(manifest, json)
    // Whoever deletes the last other version of these bytes meanwhile may not have seen this one.
    const stored = await this.#blobs.open(`blobs/${manifest.sha256}`)
    if (stored) await stored.stream.cancel()
    else await this.#blobs.putIfAbsent(`blobs/${manifest.sha256}`, bytes)
    if (isNew) return manifest
    return await this.#manifests.read(manifest.name, manifest.version) ?? manifest
  }

  async #freeVersion(name: string): Promise<number> {
    const majors = (await this.#manifests.versions(name)).map((version) => parseInt(version, 10))
    return Math.max(0, ...majors) + 1
  }
}

type Described = Pick<ModelManifest, 'bytes' | 'signature' | 'opset' | 'files' | 'pieces' | keyof ModelTraits>

/** Every blob that a version needs. */
function blobsOf({ sha256, pieces = [] }: ModelManifest): string[] {
  return [sha256, ...pieces]
}

function newest(sorted: readonly string[]): string | undefined {
  return sorted.findLast((version) => !version.includes('-')) ?? sorted.at(-1)
}
