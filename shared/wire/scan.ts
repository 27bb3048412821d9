import { decodeUtf8 } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { invalid } from './errors.ts'

/**
 * Walks a msgpack message's structure before anything decodes it. A decoder allocates what a header declares, so a
 * 100-byte message of nested array headers can take the process down; this walk allocates nothing from a declared
 * length and stops at the first thing Shoal does not accept: see PROTOCOL.md, "Values".
 * @returns whether any map holds the key "$tensor", so that a message without tensors needs no second walk
 * @throws RpcError `invalid_argument`
 */
export function scan(bytes: Uint8Array): { hasTensors: boolean } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const open: Container[] = []
  let offset = 0
  let nodes = 0
  let hasTensors = false

  const need = (count: number) => {
    if (count > bytes.length - offset) {
      throw refuse(`a length of ${count} at byte ${offset} runs past the end (${bytes.length} bytes)`)
    }
  }
  const length = (width: 1 | 2 | 4) => {
    need(width)
    const value = width === 1 ? view.getUint8(offset) : width === 2 ? view.getUint16(offset) : view.getUint32(offset)
    offset += width
    return value
  }
  const enter = (kind: Container['kind'], entries: number) => {
    // Every entry takes at least a byte, a map's two: a count beyond that cannot be true.
    const values = kind === 'map' ? entries * 2 : entries
    need(values)
    nodes += values
    if (nodes > LIMITS.maxNodes) throw refuse(`at most ${LIMITS.maxNodes} values are accepted`)
    if (open.length >= LIMITS.maxDepth) throw refuse(`nesting may be at most ${LIMITS.maxDepth} deep`)
    open.push({ kind, remaining: values, keys: kind === 'array' ? undefined : entries > SMALL_MAP ? new Set() : [] })
  }
  const string = (size: number) => {
    need(size)
    const start = offset
    offset += size
    if (!isAscii(bytes, start, offset)) requireUtf8(bytes.subarray(start, offset), start)
    const parent = open.at(-1)
    if (parent?.keys && parent.remaining % 2 === 0) {
      const key = checkKey(parent.keys, bytes, start, offset)
      if (key === '$tensor') hasTensors = true
    }
  }
  const skip = (size: number) => {
    need(size)
    offset += size
  }

  do {
    const parent = open.at(-1)
    const isKey = parent?.kind === 'map' && parent.remaining % 2 === 0
    need(1)
    const head = view.getUint8(offset++)
    if (isKey && !isStringHead(head)) throw refuse(`map keys must be strings, got type 0x${head.toString(16)}`)

    const depth = open.length
    if (head <= 0x7f || head >= 0xe0) { /* fixint: no more bytes */ }
    else if (head <= 0x8f) enter('map', head & 0x0f)
    else if (head <= 0x9f) enter('array', head & 0x0f)
    else if (head <= 0xbf) string(head & 0x1f)
    else {
      switch (head) {
        case 0xc0:
        case 0xc2:
        case 0xc3:
          break
        case 0xc4:
          skip(length(1))
          break
        case 0xc5:
          skip(length(2))
          break
        case 0xc6:
          skip(length(4))
          break
        case 0xca:
        case 0xce:
        case 0xd2:
          skip(4)
          break
        case 0xcb:
          skip(8)
          break
        case 0xcc:
        case 0xd0:
          skip(1)
          break
        case 0xcd:
        case 0xd1:
          skip(2)
          break
        case 0xcf:
        case 0xd3: {
          need(8)
          const value = head === 0xcf ? view.getBigUint64(offset) : view.getBigInt64(offset)
          if (!Number.isSafeInteger(Number(value))) {
            throw refuse(`integers must lie within ±(2^53 − 1), got ${value}; use a tensor or a string`)
          }
          offset += 8
          break
        }
        case 0xd9:
          string(length(1))
          break
        case 0xda:
          string(length(2))
          break
        case 0xdb:
          string(length(4))
          break
        case 0xdc:
          enter('array', length(2))
          break
        case 0xdd:
          enter('array', length(4))
          break
        case 0xde:
          enter('map', length(2))
          break
        case 0xdf:
          enter('map', length(4))
          break
        default:
          throw refuse(`type 0x${head.toString(16)} at byte ${offset - 1} is not accepted (extensions are not used)`)
      }
    }

    // The value just read fills a place in its parent, not in the container it may have opened.
    const filled = open.length > depth ? open.at(-2) : open.at(-1)
    if (filled) filled.remaining--
    while (open.at(-1)?.remaining === 0) open.pop()
  } while (open.length > 0)

  if (offset !== bytes.length) throw refuse(`expected one value, got ${bytes.length - offset} bytes more`)
  return { hasTensors }
}

interface Container {
  kind: 'array' | 'map'
  /** Values still to come; in a map an even number means that a key comes next. */
  remaining: number
  keys: string[] | Set<string> | undefined
}

/** Up to this many keys a list is searched faster than a set is built. */
const SMALL_MAP = 12

/** Keys that reach into an object's prototype when copied carelessly. */
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype'])

export function isForbiddenKey(key: string): boolean {
  return FORBIDDEN_KEYS.has(key)
}

function checkKey(keys: string[] | Set<string>, bytes: Uint8Array, start: number, end: number): string {
  const key = asciiOrUtf8(bytes, start, end)
  const seen = keys instanceof Set ? keys.has(key) : keys.includes(key)
  if (seen) throw refuse(`key "${key}" appears twice in one map`)
  if (isForbiddenKey(key)) throw refuse(`key "${key}" is not accepted`)
  if (keys instanceof Set) keys.add(key)
  else keys.push(key)
  return key
}

function asciiOrUtf8(bytes: Uint8Array, start: number, end: number): string {
  if (end - start > 24 || !isAscii(bytes, start, end)) return decodeUtf8(bytes.subarray(start, end))
  let text = ''
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i] ?? 0)
  return text
}

function isAscii(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if ((bytes[i] ?? 0) > 0x7f) return false
  return true
}

function requireUtf8(bytes: Uint8Array, at: number): void {
  try {
    decodeUtf8(bytes)
  } catch (cause) {
    throw invalid(`Cannot decode the message: strings must be valid UTF-8, got bad bytes at ${at}`, { cause })
  }
}

function isStringHead(head: number): boolean {
  return (head >= 0xa0 && head <= 0xbf) || (head >= 0xd9 && head <= 0xdb)
}

function refuse(reason: string) {
  return invalid(`Cannot decode the message: ${reason}`)
}
