import { decodeUtf8 } from '../base/bytes.ts'

/**
 * Reads one msgpack message that `scan` has passed: every length fits, texts are UTF-8, keys are texts, nesting is bounded
 * and integers are exact, so that nothing is checked here again. Binary data are views of `bytes`.
 * Our own and not the library's: a call over a socket decodes a header at each end after having slept, when little of the
 * code is in the processor's caches: this is short, and takes about half of the time.
 */
export function readScanned(bytes: Uint8Array): unknown {
  source = bytes
  at = 0
  const value = readValue()
  source = NOTHING
  view = undefined
  return value
}

const NOTHING = new Uint8Array(0)
/** The message, and the place in it, of the one reading that runs. */
let source: Uint8Array = NOTHING
let at = 0
/** Of the message, once a number asked for it. */
let view: DataView | undefined

function readValue(): unknown {
  const head = source[at++] ?? 0
  if (head <= 0x7f) return head
  if (head <= 0x8f) return readMap(head & 0x0f)
  if (head <= 0x9f) return readArray(head & 0x0f)
  if (head <= 0xbf) return readText(head & 0x1f)
  if (head >= 0xe0) return head - 0x100
  switch (head) {
    case 0xc2:
      return false
    case 0xc3:
      return true
    case 0xc4:
    case 0xc5:
    case 0xc6:
      return readBinary(readUint(1 << (head - 0xc4)))
    case 0xca:
      at += 4
      return viewOf().getFloat32(at - 4)
    case 0xcb:
      at += 8
      return viewOf().getFloat64(at - 8)
    case 0xcc:
      return source[at++] ?? 0
    case 0xcd:
      return (source[at++] ?? 0) << 8 | (source[at++] ?? 0)
    case 0xce:
    case 0xcf:
      return readUint(1 << (head - 0xcc))
    case 0xd0:
      return readUint(1) << 24 >> 24
    case 0xd1:
      return readUint(2) << 16 >> 16
    case 0xd2:
      return readUint(4) | 0
    case 0xd3:
      return (readUint(4) | 0) * 2 ** 32 + readUint(4)
    case 0xd9:
    case 0xda:
    case 0xdb:
      return readText(readUint(1 << (head - 0xd9)))
    case 0xdc:
      return readArray(readUint(2))
    case 0xdd:
      return readArray(readUint(4))
    case 0xde:
      return readMap(readUint(2))
    case 0xdf:
      return readMap(readUint(4))
    default:
      return null
  }
}

function readMap(entries: number): Record<string, unknown> {
  const map: Record<string, unknown> = {}
  for (let i = 0; i < entries; i++) {
    const key = readKey()
    map[key] = readValue()
  }
  return map
}

function readArray(entries: number): unknown[] {
  const values = new Array<unknown>(entries)
  for (let i = 0; i < entries; i++) values[i] = readValue()
  return values
}

/** Big-endian, of 1, 2, 4 or 8 bytes. */
function readUint(bytes: number): number {
  let value = 0
  for (const end = at + bytes; at < end; at++) value = value * 256 + (source[at] ?? 0)
  return value
}

function viewOf(): DataView {
  return view ??= new DataView(source.buffer, source.byteOffset, source.byteLength)
}

function readBinary(bytes: number): Uint8Array {
  const start = at
  at += bytes
  return source.subarray(start, at)
}

/** Up to this many bytes, gathering a text's characters is faster than calling the platform's decoder. */
const SHORT_TEXT = 24

function readText(bytes: number): string {
  const end = at + bytes
  if (bytes > SHORT_TEXT) {
    const text = decodeUtf8(source.subarray(at, end))
    at = end
    return text
  }
  const units = new Array<number>(bytes)
  let count = 0
  while (at < end) {
    const byte = source[at++] ?? 0
    if (byte <= 0x7f) {
      units[count++] = byte
      continue
    }
    const point = readPoint(byte)
    if (point > 0xffff) units[count++] = 0xd7c0 + (point >> 10)
    units[count++] = point > 0xffff ? 0xdc00 | point & 0x3ff : point
  }
  units.length = count
  return String.fromCharCode.apply(null, units)
}

/** A code point of 2 to 4 bytes, of which `first` was read. */
function readPoint(first: number): number {
  let point = first & (first < 0xe0 ? 0x1f : first < 0xf0 ? 0x0f : 0x07)
  for (let more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3; more > 0; more--) {
    point = point << 6 | (source[at++] ?? 0) & 0x3f
  }
  return point
}

/**
 * Keys met before, each at the place that its length and ends give it: messages have few, and a text that has been a key
 * need not be looked up again among all that the engine knows.
 */
const known: string[] = new Array(256).fill('')
const LONGEST_KNOWN = 32

function readKey(): string {
  const head = source[at++] ?? 0
  const bytes = head <= 0xbf ? head & 0x1f : readUint(1 << (head - 0xd9))
  if (bytes === 0 || bytes > LONGEST_KNOWN) return readText(bytes)
  const place = (bytes * 37 + (source[at] ?? 0) * 7 + (source[at + bytes - 1] ?? 0)) & 0xff
  const met = known[place] ?? ''
  if (met.length === bytes && isNext(met)) {
    at += bytes
    return met
  }
  const key = readText(bytes)
  known[place] = key
  return key
}

/** Whether a text of ASCII characters is what comes next; any other is not, as its characters are no bytes. */
function isNext(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== source[at + i]) return false
  return true
}
