/** What `writePlain` returns for what it leaves to the library. */
export const NOT_WRITTEN = -1

/**
 * Writes a value as msgpack, byte for byte as the library does, from `at` on: the plain values in ASCII that headers are
 * made of. The library's way to them is long, and a call over a socket goes it at each end with cold caches.
 * @returns the place after the value; NOT_WRITTEN if it does not fit or holds anything else, or goes deeper than `depth`
 */
export function writePlain(target: Uint8Array, at: number, value: unknown, depth: number): number {
  switch (typeof value) {
    case 'string':
      return writeText(target, at, value)
    case 'number':
      return writeNumber(target, at, value)
    case 'boolean':
      return writeByte(target, at, value ? 0xc3 : 0xc2)
    case 'object':
      if (value === null) return writeByte(target, at, 0xc0)
      if (depth === 0) return NOT_WRITTEN
      if (Array.isArray(value)) return writeArray(target, at, value, depth)
      return Object.getPrototypeOf(value) === Object.prototype
        ? writeMap(target, at, value as Readonly<Record<string, unknown>>, depth)
        : NOT_WRITTEN
    default:
      return NOT_WRITTEN
  }
}

function writeByte(target: Uint8Array, at: number, byte: number): number {
  if (at >= target.length) return NOT_WRITTEN
  target[at] = byte
  return at + 1
}

function writeMap(target: Uint8Array, at: number, map: Readonly<Record<string, unknown>>, depth: number): number {
  const headAt = at++
  let entries = 0
  for (const key of Object.keys(map)) {
    const value = map[key]
    if (value === undefined) continue
    entries++
    at = writeText(target, at, key)
    if (at !== NOT_WRITTEN) at = writePlain(target, at, value, depth - 1)
    if (at === NOT_WRITTEN) return NOT_WRITTEN
  }
  // A longer head would have to be known before the entries are written.
  if (entries > 15 || at > target.length) return NOT_WRITTEN
  target[headAt] = 0x80 | entries
  return at
}

function writeArray(target: Uint8Array, at: number, values: readonly unknown[], depth: number): number {
  const { length } = values
  if (length > 0xffff) return NOT_WRITTEN
  at = length <= 15 ? writeByte(target, at, 0x90 | length) : writeUint(target, at, 0xdc, length, 2)
  for (let i = 0; i < length && at !== NOT_WRITTEN; i++) at = writePlain(target, at, values[i], depth - 1)
  return at
}

function writeText(target: Uint8Array, at: number, text: string): number {
  const { length } = text
  if (length > 0xffff || at + length + 3 > target.length) return NOT_WRITTEN
  if (length <= 31) target[at++] = 0xa0 | length
  else if (length <= 0xff) at = writeUint(target, at, 0xd9, length, 1)
  else at = writeUint(target, at, 0xda, length, 2)
  let all = 0
  for (let i = 0; i < length; i++) {
    const character = text.charCodeAt(i)
    all |= character
    target[at + i] = character
  }
  return all <= 0x7f ? at + length : NOT_WRITTEN
}

const float = new DataView(new ArrayBuffer(8))

function writeNumber(target: Uint8Array, at: number, value: number): number {
  if (!Number.isSafeInteger(value)) {
    if (at + 9 > target.length) return NOT_WRITTEN
    target[at++] = 0xcb
    float.setFloat64(0, value)
    for (let i = 0; i < 8; i++) target[at++] = float.getUint8(i)
    return at
  }
  if (value >= 0) {
    if (value <= 0x7f) return writeByte(target, at, value)
    if (value <= 0xff) return writeUint(target, at, 0xcc, value, 1)
    if (value <= 0xffff) return writeUint(target, at, 0xcd, value, 2)
    return value <= 0xffffffff ? writeUint(target, at, 0xce, value, 4) : NOT_WRITTEN
  }
  return value >= -0x20 ? writeByte(target, at, value + 0x100) : NOT_WRITTEN
}

/** A head and a number of up to 4 bytes, big-endian. */
function writeUint(target: Uint8Array, at: number, head: number, value: number, bytes: number): number {
  if (at + 1 + bytes > target.length) return NOT_WRITTEN
  target[at++] = head
  for (let shift = 8 * (bytes - 1); shift >= 0; shift -= 8) target[at++] = value >>> shift
  return at
}
