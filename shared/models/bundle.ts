import * as z from 'zod'
import { type Bytes, encodeUtf8 } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { wordIssue } from '../base/schema_issue.ts'
import { decodeJson } from '../wire/codec.ts'
import { invalid } from '../wire/errors.ts'

/**
 * A model in several blobs: one that is too large for one, or whose weights lie in files of their own (ONNX's external
 * data). The bundle is a blob too, and its SHA-256 is the model's identity: it names every piece by hash, so that whoever
 * checks what they get against those hashes has checked all of the model.
 */
const piece = z.strictObject({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  bytes: z.number().int().min(1).max(LIMITS.maxPieceBytes),
})
const file = z.strictObject({
  path: z.string().min(1).max(LIMITS.maxNameLength).refine(isPlainPath, 'expected a path without . and ..'),
  bytes: z.number().int().min(1).max(LIMITS.maxBundleBytes),
  pieces: z.array(piece).max(Math.ceil(LIMITS.maxBundleBytes / LIMITS.maxPieceBytes) * 2),
}).refine(({ bytes, pieces }) => bytes === pieces.reduce((sum, one) => sum + one.bytes, 0), 'pieces must add up')
const bundle = z.strictObject({ format: z.literal('shoal-bundle/1'), model: file, external: z.array(file).max(64) })

export type Bundle = z.infer<typeof bundle>
export type BundleFile = z.infer<typeof file>

/** How a bundle begins, and no ONNX file does: '{' would be the start of a group, which protobuf no longer has. */
const BEGINNING = encodeUtf8('{"format":"shoal-bundle/')

export function encodeBundle({ model, external }: Omit<Bundle, 'format'>): Bytes {
  return encodeUtf8(JSON.stringify({ format: 'shoal-bundle/1', model, external }))
}

/** @returns undefined if the bytes are no bundle @throws RpcError `invalid_argument` if they are a bad one */
export function readBundle(bytes: Uint8Array): Bundle | undefined {
  if (!BEGINNING.every((byte, i) => bytes[i] === byte)) return undefined
  let json: unknown
  try {
    json = decodeJson(bytes)
  } catch (cause) {
    throw invalid('Cannot read the bundle: it must be JSON', { cause })
  }
  const parsed = bundle.safeParse(json)
  if (!parsed.success) {
    throw invalid(`Cannot read the bundle: ${wordIssue(parsed.error.issues[0])}`)
  }
  const { model, external } = parsed.data
  const total = bytesOf(parsed.data)
  if (total > LIMITS.maxBundleBytes) {
    throw invalid(`Cannot read the bundle: it must have at most ${LIMITS.maxBundleBytes} bytes, got ${total}`)
  }
  const paths = [model, ...external].map(({ path }) => path)
  if (new Set(paths).size === paths.length) return parsed.data
  throw invalid('Cannot read the bundle: each of its files must have a path of its own')
}

export function bytesOf({ model, external }: Bundle): number {
  return [model, ...external].reduce((sum, { bytes }) => sum + bytes, 0)
}

export function piecesOf({ model, external }: Bundle): readonly z.infer<typeof piece>[] {
  return [model, ...external].flatMap(({ pieces }) => pieces)
}

/** True for a path that stays below the folder it is read from. */
export function isPlainPath(path: string): boolean {
  return path.split('/').every((part) => /^[^\\/\0]+$/.test(part) && part !== '.' && part !== '..')
}
