/** Bytes owned by an ordinary ArrayBuffer: what every web API accepts. */
export type Bytes = Uint8Array<ArrayBuffer>

export const EMPTY: Bytes = new Uint8Array(0)

const utf8Encoder = new TextEncoder()
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function encodeUtf8(text: string): Bytes {
  return utf8Encoder.encode(text)
}

/** @throws TypeError if the bytes are not valid UTF-8 */
export function decodeUtf8(bytes: Uint8Array): string {
  return utf8Decoder.decode(bytes)
}

/** Joins parts in one allocation. A single part is returned as it is, not copied. */
export function concat(parts: readonly Uint8Array[]): Bytes {
  if (parts.length === 1) return parts[0] as Bytes
  let total = 0
  for (const part of parts) total += part.byteLength
  const joined = new Uint8Array(total)
  let offset = 0
  for (const part of parts) {
    joined.set(part, offset)
    offset += part.byteLength
  }
  return joined
}

/** The bytes in a buffer of their own, which may be transferred: as they are if they fill theirs, else copied. */
export function owned(bytes: Bytes): Bytes {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice()
}

export function byteLengthOf(parts: readonly Uint8Array[]): number {
  let total = 0
  for (const part of parts) total += part.byteLength
  return total
}

/** The smallest multiple of `step` that is not below `value`. No bit operations: offsets may pass 2^31. */
export function alignUp(value: number, step: number): number {
  return Math.ceil(value / step) * step
}

const DIGITS = encodeUtf8('0123456789abcdef')

/** Lower-case hexadecimal digits, two for each byte. Written as bytes: to join as many texts leaves each of them behind. */
export function toHex(bytes: Uint8Array): string {
  const digits = new Uint8Array(bytes.byteLength * 2)
  writeHex(bytes, 0, bytes.byteLength, digits, 0)
  return decodeUtf8(digits)
}

/** Writes the same digits of some bytes, as ASCII, into a text from `at` on. */
export function writeHex(bytes: Uint8Array, from: number, until: number, text: Uint8Array, at: number): void {
  for (let i = from; i < until; i++) {
    const byte = bytes[i] ?? 0
    text[at++] = DIGITS[byte >> 4] ?? 0
    text[at++] = DIGITS[byte & 15] ?? 0
  }
}

/** SHA-256 as 64 lower-case hex digits. */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  return toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Bytes)))
}

/** Compares two strings in time that depends on their lengths alone. */
export function constantTimeEqual(left: string, right: string): boolean {
  let difference = left.length ^ right.length
  for (let i = 0; i < left.length; i++) difference |= left.charCodeAt(i) ^ right.charCodeAt(i % (right.length || 1))
  return difference === 0
}

/**
 * Collects a byte stream, giving up as soon as it exceeds `maxBytes`: nothing is allocated from a declared length.
 * @returns undefined if the stream was longer than `maxBytes`; it is cancelled then
 */
export async function readAll(
  stream: ReadableStream<Uint8Array> | null,
  maxBytes: number,
): Promise<Bytes | undefined> {
  if (!stream) return EMPTY
  const reader = stream.getReader()
  const parts: Uint8Array[] = []
  let total = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return concat(parts)
    total += value.byteLength
    if (total > maxBytes) {
      await reader.cancel().catch(() => {})
      return undefined
    }
    parts.push(value)
  }
}
