import { readAll } from '../base/bytes.ts'
import { RpcError } from '../wire/errors.ts'
import type { BlobStore } from './blob_store.ts'
import { type Bundle, type BundleFile, piecesOf } from './bundle.ts'
import type { RandomAccess } from './lean_model.ts'

/** Checks that every piece of a bundle is there, as long as it says. Their hashes were checked when they were stored. */
export async function requirePieces(blobs: BlobStore, bundle: Bundle): Promise<void> {
  for (const { sha256, bytes } of piecesOf(bundle)) {
    const found = await blobs.open(`blobs/${sha256}`)
    await found?.stream.cancel()
    if (found?.size === bytes) continue
    const got = found ? `${found.size} bytes` : 'none'
    throw new RpcError(
      'failed_precondition',
      `Cannot push the model: its piece ${sha256} must be stored first with ${bytes} bytes, got ${got} (PUT /blobs/${sha256})`,
    )
  }
}

/** A file of a bundle, read by ranges of its pieces. */
export function fileInPieces(blobs: BlobStore, { bytes: size, pieces }: BundleFile): RandomAccess {
  return {
    size,
    async read(at, length) {
      const wanted = new Uint8Array(length)
      let pieceAt = 0
      for (const { sha256, bytes } of pieces) {
        const from = Math.max(at, pieceAt)
        const to = Math.min(at + length, pieceAt + bytes)
        if (from < to) {
          const found = await blobs.open(`blobs/${sha256}`, { offset: from - pieceAt, length: to - from })
          const part = found && await readAll(found.stream, to - from)
          if (part?.byteLength !== to - from) {
            throw new RpcError('data_loss', `Cannot read the model: its piece ${sha256} must have ${bytes} bytes`)
          }
          wanted.set(part, from - at)
        }
        pieceAt += bytes
      }
      return wanted
    },
  }
}
