import { LIMITS } from '../base/limits.ts'
import { invalid } from './errors.ts'
import { isTensorKey, mayBeSpecial, refuseTwice, textOf } from './key_table.ts'

/**
 * Reads one msgpack message of a stranger's, and refuses what PROTOCOL.md, "Values", does not accept. One walk both checks
 * and decodes: it recurses `LIMITS.maxDepth` levels at most, and allocates nothing from a declared length before it is known
 * that so many bytes are there, so that a 100-byte message of nested array headers costs what 100 bytes may. Binary data
 * are views of `bytes`.
 * Our own and not the library's: a call over a socket decodes a header at each end after having slept, when little of the
 * code is in the processor's caches. To check while reading, and not before, takes 0.8 µs less of a small call there and back.
 * @returns the value, and whether some map in it holds the key "$tensor"
 * @throws RpcError `invalid_argument`
 */
export function readMsgpack(bytes: Uint8Array): { value: unknown; hasTensors: boolean } {
  source = bytes
  size = bytes.length
  at = 0
  nodes = 0
  hasTensors = false
  try {
    const value = readValue(0)
    if (at !== size) throw refuse(`expected one value, got ${size - at} bytes more`)
    return { value, hasTensors }
  } finally {
    source = NOTHING
    view = undefined
  }
}

const NOTHING = new Uint8Array(0)
/** The message, and the place in it, of the one reading that runs. */
let source: Uint8Array = NOTHING
let size = 0
let at = 0
/** Values that containers have declared so far, a map's keys counted. */
let nodes = 0
let hasTensors = false
/** Of the message, once a number asked for it. */
let view: DataView | undefined

/** @param depth containers around it */
function readValue(depth: number): unknown {
  if (at >= size) throw refuseEnd()
  const head = source[at++] ?? 0
  if (head <= 0x7f) return head
  if (head <= 0x8f) return readMap(head & 0x0f, depth)
  if (head <= 0x9f) return readArray(head & 0x0f, depth)
  if (head <= 0xbf) return readText(head & 0x1f)
  if (head >= 0xe0) return head - 0x100
  switch (head) {
    case 0xc0:
      return null
    case 0xc2:
      return false
    case 0xc3:
      return true
    case 0xc4:
    case 0xc5:
    case 0xc6: {
      const start = step(readLength(1 << (head - 0xc4)))
      return source.subarray(start, at)
    }
    case 0xca:
      return viewOf().getFloat32(step(4))
    case 0xcb:
      return viewOf().getFloat64(step(8))
    case 0xcc:
    case 0xcd:
    case 0xce:
      return readUint(1 << (head - 0xcc))
    case 0xd0:
      return readUint(1) << 24 >> 24
    case 0xd1:
      return readUint(2) << 16 >> 16
    case 0xd2:
      return readUint(4) | 0
    case 0xcf:
    case 0xd3:
      return readInteger(head === 0xd3)
    case 0xd9:
    case 0xda:
    case 0xdb:
      return readText(readLength(1 << (head - 0xd9)))
    case 0xdc:
    case 0xdd:
      return readArray(readLength(2 << (head - 0xdc)), depth)
    case 0xde:
    case 0xdf:
      return readMap(readLength(2 << (head - 0xde)), depth)
    default:
      throw refuse(`type 0x${head.toString(16)} at byte ${at - 1} is not accepted (extensions are not used)`)
  }
}

function readMap(entries: number, depth: number): Record<string, unknown> {
  open(entries * 2, depth)
  const start = at
  const map: Record<string, unknown> = {}
  for (let i = 0; i < entries; i++) {
    const key = readKey()
    map[key] = readValue(depth + 1)
  }
  // Fewer than were read: one came twice.
  if (Object.keys(map).length < entries) refuseRepeated(start, entries, depth)
  return map
}

function readArray(entries: number, depth: number): unknown[] {
  open(entries, depth)
  const values = new Array<unknown>(entries)
  for (let i = 0; i < entries; i++) values[i] = readValue(depth + 1)
  return values
}

/** Every entry takes at least a byte, a map's two: a count beyond that cannot be true. */
function open(values: number, depth: number): void {
  if (values > size - at) throw refuseLength(values)
  nodes += values
  if (nodes > LIMITS.maxNodes) throw refuse(`at most ${LIMITS.maxNodes} values are accepted, got ${nodes}`)
  if (depth >= LIMITS.maxDepth) throw refuse(`nesting may be at most ${LIMITS.maxDepth} deep, got more at byte ${at}`)
}

/** Reads a map's keys once more, to name the one that comes twice. */
function refuseRepeated(start: number, entries: number, depth: number): void {
  at = start
  const keys = new Set<string>()
  for (let i = 0; i < entries; i++) {
    const key = readKey()
    if (keys.has(key)) throw refuseTwice(key)
    keys.add(key)
    readValue(depth + 1)
  }
}

/** Steps over what is there for sure. @returns where it begins */
function step(bytes: number): number {
  if (bytes > size - at) throw refuseLength(bytes)
  at += bytes
  return at - bytes
}

/** Big-endian, of 1, 2 or 4 bytes. */
function readUint(bytes: number): number {
  let value = 0
  for (let from = step(bytes); from < at; from++) value = value * 256 + (source[from] ?? 0)
  return value
}

function readLength(bytes: number): number {
  if (bytes > size - at) throw refuse(`expected a length at byte ${at}, got the end`)
  return readUint(bytes)
}

/** Of 64 bits, which must be one that a JavaScript number holds exactly. */
function readInteger(isSigned: boolean): number {
  const start = step(8)
  const view = viewOf()
  const high = isSigned ? view.getInt32(start) : view.getUint32(start)
  // What is rounded here is beyond what is safe, before and after.
  const value = high * 2 ** 32 + view.getUint32(start + 4)
  if (Number.isSafeInteger(value)) return value
  const got = isSigned ? view.getBigInt64(start) : view.getBigUint64(start)
  throw refuse(`integers must lie within ±(2^53 − 1), got ${got}; use a tensor or a string`)
}

function viewOf(): DataView {
  return view ??= new DataView(source.buffer, source.byteOffset, source.byteLength)
}

/** Up to this many bytes, gathering a text's characters is faster than calling the platform's decoder. */
const SHORT_TEXT = 24

/**
 * Short texts in ASCII met before, each at the place that its length and ends give it: calls repeat the names of members, methods and
 * inputs, and a text that is at hand need not be made, hashed and looked up among all that the engine knows.
 */
const met: string[] = new Array(256).fill('')

function readText(bytes: number): string {
  const start = step(bytes)
  if (bytes > SHORT_TEXT) return textOf(source, start, at)
  const place = (bytes * 37 + (source[start] ?? 0) * 7 + (source[at - 1] ?? 0)) & 0xff
  const before = met[place] ?? ''
  if (before.length === bytes && isAt(start, before)) return before
  const text = fromAscii(start, at)
  if (text === undefined) return textOf(source, start, at)
  met[place] = text
  return text
}

function fromAscii(start: number, end: number): string | undefined {
  const units = new Array<number>(end - start)
  for (let i = start; i < end; i++) {
    const byte = source[i] ?? 0
    if (byte > 0x7f) return undefined
    units[i - start] = byte
  }
  return String.fromCharCode.apply(null, units)
}

/** Whether `text`, all ASCII, stands there. */
function isAt(start: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== source[start + i]) return false
  return true
}

function readKey(): string {
  if (at >= size) throw refuseEnd()
  const head = source[at++] ?? 0
  const isShort = head >= 0xa0 && head <= 0xbf
  if (!isShort && (head < 0xd9 || head > 0xdb)) {
    throw refuse(`map keys must be strings, got type 0x${head.toString(16)}`)
  }
  const bytes = isShort ? head & 0x1f : readLength(1 << (head - 0xd9))
  const key = readText(bytes)
  if (mayBeSpecial(source, at - bytes, at) && isTensorKey(key)) hasTensors = true
  return key
}

function refuseEnd() {
  return refuse(`expected a value at byte ${at}, got the end`)
}

function refuseLength(length: number) {
  return refuse(`a length of ${length} at byte ${at} runs past the end (${size} bytes)`)
}

function refuse(reason: string) {
  return invalid(`Cannot decode the message: ${reason}`)
}
