import { decodeUtf8 } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { invalid } from './errors.ts'

/** Keys that reach into an object's prototype when copied carelessly. */
const FORBIDDEN_KEYS: readonly string[] = ['__proto__', 'constructor', 'prototype']

export function isForbiddenKey(key: string): boolean {
  return (key.length === 9 || key.length === 11) && FORBIDDEN_KEYS.includes(key)
}

/** Up to this many keys, comparing them one by one is faster than a set of strings. */
const SMALL_MAP = 12
const LEVELS = LIMITS.maxDepth

/**
 * The keys of a message's open maps, innermost last, so that one that comes twice is noticed. Keys stay where they are
 * in the message and are compared by hash and bytes: no text is made of them while a map is small.
 */
export class KeyTable {
  readonly #hash = new Int32Array(LEVELS * SMALL_MAP)
  readonly #start = new Int32Array(LEVELS * SMALL_MAP)
  readonly #end = new Int32Array(LEVELS * SMALL_MAP)
  /** Where each open map's keys begin in the three above. */
  readonly #from = new Int32Array(LEVELS + 1)
  /** The keys of a map with more than SMALL_MAP of them. */
  readonly #large: (Set<string> | undefined)[] = new Array(LEVELS + 1).fill(undefined)
  #open = 0
  #count = 0

  /** Forgets all maps, also those left open by a message that was refused. */
  reset(): void {
    this.#large.fill(undefined, 0, this.#open + 1)
    this.#open = 0
    this.#count = 0
  }

  openMap(): void {
    this.#from[++this.#open] = this.#count
  }

  closeMap(): void {
    this.#count = this.#from[this.#open] ?? 0
    this.#large[this.#open--] = undefined
  }

  /**
   * Adds a key to the innermost map.
   * @returns whether it is "$tensor"
   * @throws RpcError `invalid_argument` if it is there already, is forbidden or is no valid UTF-8
   */
  add(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#large[this.#open]) return this.#addText(textOf(bytes, start, end))
    let hash = 0
    let all = 0
    for (let i = start; i < end; i++) {
      const byte = bytes[i] ?? 0
      all |= byte
      hash = (Math.imul(hash, 31) + byte) | 0
    }
    if (all > 0x7f) textOf(bytes, start, end)
    const hashes = this.#hash
    const from = this.#from[this.#open] ?? 0
    const count = this.#count
    for (let i = from; i < count; i++) {
      if (hashes[i] === hash && this.#isSame(i, bytes, start, end)) throw refuseTwice(textOf(bytes, start, end))
    }
    if (count - from === SMALL_MAP) {
      this.#enlarge(bytes)
      return this.#addText(textOf(bytes, start, end))
    }
    hashes[count] = hash
    this.#start[count] = start
    this.#end[count] = end
    this.#count = count + 1
    return mayBeSpecial(bytes, start, end) && isTensorKey(textOf(bytes, start, end))
  }

  /** The same for a key that does not stand in the message as it is: one written with escapes in JSON. */
  addEscaped(bytes: Uint8Array, key: string): boolean {
    if (!this.#large[this.#open]) this.#enlarge(bytes)
    return this.#addText(key)
  }

  #addText(key: string): boolean {
    const keys = this.#large[this.#open]
    if (keys?.has(key)) throw refuseTwice(key)
    keys?.add(key)
    return isTensorKey(key)
  }

  #enlarge(bytes: Uint8Array): void {
    const keys = new Set<string>()
    for (let i = this.#from[this.#open] ?? 0; i < this.#count; i++) {
      keys.add(textOf(bytes, this.#start[i] ?? 0, this.#end[i] ?? 0))
    }
    this.#large[this.#open] = keys
  }

  #isSame(index: number, bytes: Uint8Array, start: number, end: number): boolean {
    let at = this.#start[index] ?? 0
    if ((this.#end[index] ?? 0) - at !== end - start) return false
    for (let i = start; i < end; i++) if (bytes[i] !== bytes[at++]) return false
    return true
  }
}

/** Whether a key can be "$tensor" or a forbidden one, by its length and first byte alone: nearly all keys cannot. */
export function mayBeSpecial(bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start
  const first = bytes[start]
  return (length === 7 && first === 0x24) || (length === 9 && (first === 0x5f || first === 0x70)) ||
    (length === 11 && first === 0x63)
}

/** @throws RpcError `invalid_argument` for a key that is not accepted */
export function isTensorKey(key: string): boolean {
  if (isForbiddenKey(key)) throw invalid(`Cannot decode the message: key "${key}" is not accepted`)
  return key === '$tensor'
}

/** @throws RpcError `invalid_argument` unless it is valid UTF-8 */
export function textOf(bytes: Uint8Array, start: number, end: number): string {
  try {
    return decodeUtf8(bytes.subarray(start, end))
  } catch (cause) {
    throw invalid(`Cannot decode the message: strings must be valid UTF-8, got bad bytes at ${start}`, { cause })
  }
}

export function refuseTwice(key: string) {
  const shown = key.length > 80 ? `${key.slice(0, 77)}...` : key
  return invalid(`Cannot decode the message: key "${shown}" appears twice in one map`)
}
