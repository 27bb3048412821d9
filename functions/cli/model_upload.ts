import { type FileHandle, open, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { type Bytes, sha256Hex } from '../../shared/base/bytes.ts'
import { LIMITS } from '../../shared/base/limits.ts'
import { type BundleFile, encodeBundle, isPlainPath } from '../../shared/models/bundle.ts'
import { externalPathsOf } from '../../shared/models/external_data.ts'
import { type RandomAccess, readLeanModel } from '../../shared/models/lean_model.ts'
import { readModel } from '../../shared/models/onnx.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import type { GatewayAccess } from './command.ts'
import { request } from './request.ts'

/**
 * What to push for a model: its file, or a bundle if it is too large for one body or has weights in other files, whose
 * pieces are stored by then. No more than a piece is held.
 * @throws RpcError `not_found` if a file is not there, `invalid_argument` for what is no model
 */
export async function prepareModel(access: GatewayAccess, path: string): Promise<Bytes> {
  await using file = await openFile(path, path)
  const isLarge = file.size > LIMITS.maxModelBytes
  const bytes = isLarge ? await readLeanModel(file) : await readFile(path)
  const external = externalPathsOf(readModel(bytes))
  if (external.length === 0 && !isLarge) return bytes as Bytes
  const model = await upload(access, basename(path), file)
  const others: BundleFile[] = []
  for (const location of external) {
    if (!isPlainPath(location)) {
      throw invalid(`Cannot push ${path}: its weights must lie beside it or below, got ${JSON.stringify(location)}`)
    }
    await using beside = await openFile(join(dirname(path), location), path)
    others.push(await upload(access, location, beside))
  }
  return encodeBundle({ model, external: others })
}

/** Stores what the gateway has not yet: a push that broke off goes on where it was. */
async function upload(access: GatewayAccess, path: string, file: RandomAccess): Promise<BundleFile> {
  const pieces: BundleFile['pieces'] = []
  for (let at = 0; at < file.size; at += LIMITS.maxPieceBytes) {
    const bytes = Uint8Array.from(await file.read(at, Math.min(LIMITS.maxPieceBytes, file.size - at)))
    const sha256 = await sha256Hex(bytes)
    const known = await fetch(`${access.url}/blobs/${sha256}`, { method: 'HEAD', headers: access.headers })
    if (!known.ok) await request(access, 'PUT', `/blobs/${sha256}`, { body: bytes })
    pieces.push({ sha256, bytes: bytes.byteLength })
  }
  return { path, bytes: file.size, pieces }
}

class OpenFile implements RandomAccess, AsyncDisposable {
  readonly size: number
  readonly #file: FileHandle

  constructor(file: FileHandle, size: number) {
    this.#file = file
    this.size = size
  }

  async read(at: number, length: number): Promise<Bytes> {
    const bytes = new Uint8Array(length)
    for (let filled = 0; filled < length;) {
      const { bytesRead } = await this.#file.read(bytes, filled, length - filled, at + filled)
      if (bytesRead === 0) throw new RpcError('aborted', 'Cannot push: the file must not change meanwhile')
      filled += bytesRead
    }
    return bytes
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
  }
}

/** @param model what is being pushed, for the error */
async function openFile(path: string, model: string): Promise<OpenFile> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isFile()) return new OpenFile(await open(path, 'r'), found.size)
  const what = path === model ? 'an ONNX file is required' : `its weights in ${path} are required`
  throw new RpcError('not_found', `Cannot push ${model}: ${what}, got ${found ? 'a folder' : 'no such file'}`)
}
