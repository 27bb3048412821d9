import type { Bytes } from '../base/bytes.ts'
import type { ExternalFile } from '../engine/engine.ts'
import { type BundleFile, readBundle } from '../models/bundle.ts'
import { RpcError } from '../wire/errors.ts'
import type { ModelSource } from './model_source.ts'

/** A model as the engine takes it. */
export interface ModelFiles {
  model: Bytes
  /** What it has in other files; none if it stands by itself. */
  external?: readonly ExternalFile[]
}

/**
 * Fetches a model by its hash: one blob, or a bundle and its pieces. Each blob is checked against its hash, and so all of it
 * is. A file in pieces is put together as they come: beside it, no more than one piece is held.
 */
export async function openModel(source: ModelSource, sha256: string, signal: AbortSignal): Promise<ModelFiles> {
  const bytes = await source.get(sha256, signal)
  const bundle = readBundle(bytes)
  if (!bundle) return { model: bytes }
  const model = await assemble(source, bundle.model, signal)
  const external: ExternalFile[] = []
  for (const file of bundle.external) external.push({ path: file.path, data: await assemble(source, file, signal) })
  return external.length > 0 ? { model, external } : { model }
}

async function assemble(source: ModelSource, { path, bytes, pieces }: BundleFile, signal: AbortSignal): Promise<Bytes> {
  const whole = new Uint8Array(bytes)
  let at = 0
  for (const piece of pieces) {
    const part = await source.get(piece.sha256, signal)
    if (part.byteLength !== piece.bytes) {
      throw new RpcError(
        'data_loss',
        `Cannot load the model: a piece of ${path} must have ${piece.bytes} bytes, got ${part.byteLength}`,
      )
    }
    whole.set(part, at)
    at += part.byteLength
  }
  return whole
}
