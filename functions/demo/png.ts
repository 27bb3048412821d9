import { type Bytes, concat, encodeUtf8, readAll } from '../../shared/base/bytes.ts'
import { invalid } from '../../shared/wire/errors.ts'

/** The container of a PNG file: chunks with checksums around one zlib stream. https://www.w3.org/TR/png-3/ */

export interface Chunk {
  type: string
  data: Uint8Array
}

export function pngChunk(type: string, data: Uint8Array): Bytes {
  const body = concat([encodeUtf8(type), data])
  return concat([uint32(data.length), body, uint32(crc32(body))])
}

/**
 * The chunks before IEND; what follows that is not PNG.
 * @throws RpcError `invalid_argument` if a chunk runs past the end, its checksum is wrong, or IEND is missing
 */
export function readChunks(bytes: Uint8Array): Chunk[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const chunks: Chunk[] = []
  for (let at = 0;;) {
    const end = at + 12 <= bytes.length ? at + 12 + view.getUint32(at) : Infinity
    if (end > bytes.length) throw invalid('Cannot read the picture: its PNG ends too early')
    const body = bytes.subarray(at + 4, end - 4)
    if (crc32(body) !== view.getUint32(end - 4)) throw invalid('Cannot read the picture: its PNG is damaged')
    const type = String.fromCharCode(...body.subarray(0, 4))
    if (type === 'IEND') return chunks
    chunks.push({ type, data: body.subarray(4) })
    at = end
  }
}

/** @throws RpcError `invalid_argument` unless the zlib stream holds exactly `length` bytes */
export async function inflate(zlib: Bytes, length: number): Promise<Bytes> {
  const stream = new Blob([zlib]).stream().pipeThrough(new DecompressionStream('deflate'))
  const inflated = await readAll(stream, length).catch(() => undefined)
  if (inflated?.length !== length) throw invalid(`Cannot read the picture: its PNG must hold ${length} bytes of pixels`)
  return inflated
}

/** The longest block that deflate stores uncompressed. */
const MAX_STORED = 0xffff

/** A zlib stream of stored blocks: compressors differ between runtimes, this does not. */
export function storedZlib(data: Uint8Array): Bytes {
  const parts: Uint8Array[] = [Uint8Array.of(0x78, 0x01)]
  for (let at = 0; at < data.length || at === 0; at += MAX_STORED) {
    const block = data.subarray(at, at + MAX_STORED)
    const isLast = at + MAX_STORED >= data.length ? 1 : 0
    const { length } = block
    parts.push(Uint8Array.of(isLast, length & 0xff, length >> 8, ~length & 0xff, (~length >> 8) & 0xff), block)
  }
  return concat([...parts, uint32(adler32(data))])
}

function adler32(data: Uint8Array): number {
  let [a, b] = [1, 0]
  for (const byte of data) {
    a = (a + byte) % 65521
    b = (b + a) % 65521
  }
  return b * 0x10000 + a
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1
  return crc
})

function crc32(data: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of data) crc = (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8)
  return ~crc >>> 0
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}
