import { decodeUtf8 } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { invalid } from './errors.ts'
import { KeyTable } from './key_table.ts'

/** What a scan learned, so that decoding need not look again. */
export interface Scanned {
  /** Some map holds the key "$tensor". */
  hasTensors: boolean
}

/** Up to this many bytes, looking at each is faster than calling the platform's decoder. */
const SHORT_TEXT = 48

/** The containers around the innermost one. Reused: a scan runs to its end before another begins. */
const outerLeft = new Int32Array(LIMITS.maxDepth)
const outerIsMap = new Uint8Array(LIMITS.maxDepth)
const keys = new KeyTable()

/**
 * Walks a msgpack message's structure before anything decodes it. A decoder allocates what a header declares, so a
 * 100-byte message of nested array headers can take the process down; this walk allocates nothing from a declared
 * length and stops at the first thing Shoal does not accept: see PROTOCOL.md, "Values".
 * @throws RpcError `invalid_argument`
 */
export function scan(bytes: Uint8Array): Scanned {
  const size = bytes.length
  const scanned = { hasTensors: false }
  let at = 0
  let nodes = 0
  let depth = 0
  /** Values still to come in the innermost container, a map's keys counted; outside of all containers the one value. */
  let left = 1
  let isMap = false
  keys.reset()

  for (;;) {
    while (left === 0) {
      if (depth === 0) {
        if (at !== size) throw refuse(`expected one value, got ${size - at} bytes more`)
        return scanned
      }
      if (isMap) keys.closeMap()
      left = outerLeft[--depth] ?? 0
      isMap = outerIsMap[depth] === 1
    }
    if (at >= size) throw refuse(`expected a value at byte ${at}, got the end`)
    const headAt = at
    const head = bytes[at++] ?? 0
    // A map's keys and values alternate, so that an even number to come means a key.
    const isKey = isMap && left % 2 === 0
    left--

    if ((head >= 0xa0 && head <= 0xbf) || (head >= 0xd9 && head <= 0xdb)) {
      const start = head <= 0xbf ? at : at + (1 << (head - 0xd9))
      at = skip(bytes, start, head <= 0xbf ? head & 0x1f : readLength(bytes, at, start))
      if (isKey) {
        if (keys.add(bytes, start, at)) scanned.hasTensors = true
      } else {
        requireUtf8(bytes, start, at)
      }
      continue
    }
    if (isKey) throw refuse(`map keys must be strings, got type 0x${head.toString(16)}`)
    if (head <= 0x7f || head >= 0xe0) continue

    let entries: number
    let opensMap: boolean
    if (head <= 0x9f) {
      entries = head & 0x0f
      opensMap = head <= 0x8f
    } else if (head >= 0xdc) {
      at += head % 2 === 0 ? 2 : 4
      entries = readLength(bytes, headAt + 1, at)
      opensMap = head >= 0xde
    } else {
      at = skipScalar(bytes, head, at)
      continue
    }

    // Every entry takes at least a byte, a map's two: a count beyond that cannot be true.
    const values = opensMap ? entries * 2 : entries
    if (values > size - at) throw refuseLength(values, at, size)
    nodes += values
    if (nodes > LIMITS.maxNodes) throw refuse(`at most ${LIMITS.maxNodes} values are accepted`)
    if (depth >= LIMITS.maxDepth) throw refuse(`nesting may be at most ${LIMITS.maxDepth} deep`)
    outerLeft[depth] = left
    outerIsMap[depth++] = isMap ? 1 : 0
    left = values
    isMap = opensMap
    if (isMap) keys.openMap()
  }
}

/** Steps over nil, booleans, numbers and binary data. @returns the place after the value */
function skipScalar(bytes: Uint8Array, head: number, at: number): number {
  switch (head) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return at
    case 0xcc:
    case 0xd0:
      return skip(bytes, at, 1)
    case 0xcd:
    case 0xd1:
      return skip(bytes, at, 2)
    case 0xca:
    case 0xce:
    case 0xd2:
      return skip(bytes, at, 4)
    case 0xcb:
      return skip(bytes, at, 8)
    case 0xcf:
    case 0xd3:
      return skipInteger(bytes, head, at)
    case 0xc4:
    case 0xc5:
    case 0xc6: {
      const start = at + (1 << (head - 0xc4))
      return skip(bytes, start, readLength(bytes, at, start))
    }
    default:
      throw refuse(`type 0x${head.toString(16)} at byte ${at - 1} is not accepted (extensions are not used)`)
  }
}

function skip(bytes: Uint8Array, at: number, count: number): number {
  if (count > bytes.length - at) throw refuseLength(count, at, bytes.length)
  return at + count
}

/** A 64-bit integer must be one that a JavaScript number holds exactly. */
function skipInteger(bytes: Uint8Array, head: number, at: number): number {
  const end = skip(bytes, at, 8)
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, 8)
  const value = head === 0xcf ? view.getBigUint64(0) : view.getBigInt64(0)
  if (!Number.isSafeInteger(Number(value))) {
    throw refuse(`integers must lie within ±(2^53 − 1), got ${value}; use a tensor or a string`)
  }
  return end
}

/** A big-endian length of 1, 2 or 4 bytes in `start`..`end`. */
function readLength(bytes: Uint8Array, start: number, end: number): number {
  if (end > bytes.length) throw refuse(`expected a length at byte ${start}, got the end`)
  let value = 0
  for (let i = start; i < end; i++) value = value * 256 + (bytes[i] ?? 0)
  return value
}

function requireUtf8(bytes: Uint8Array, start: number, end: number): void {
  if (end - start <= SHORT_TEXT) {
    let all = 0
    for (let i = start; i < end; i++) all |= bytes[i] ?? 0
    if (all <= 0x7f) return
  }
  try {
    decodeUtf8(bytes.subarray(start, end))
  } catch (cause) {
    throw invalid(`Cannot decode the message: strings must be valid UTF-8, got bad bytes at ${start}`, { cause })
  }
}

function refuseLength(length: number, at: number, size: number) {
  return refuse(`a length of ${length} at byte ${at} runs past the end (${size} bytes)`)
}

function refuse(reason: string) {
  return invalid(`Cannot decode the message: ${reason}`)
}
