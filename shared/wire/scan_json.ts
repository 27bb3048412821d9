import { decodeUtf8 } from '../base/bytes.ts'
import { LIMITS } from '../base/limits.ts'
import { invalid } from './errors.ts'
import { KeyTable } from './key_table.ts'

/** What a scan learned, so that what it rules out need not be looked for again. */
export interface ScannedJson {
  /** Some object holds the key "$tensor". */
  hasTensors: boolean
  /** An escape may have made half of a surrogate pair, which no UTF-8 text holds. */
  mayBeIllFormed: boolean
}

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** The kinds of the open containers. Reused: a scan runs to its end before another begins. */
const isMap = new Uint8Array(LIMITS.maxDepth + 1)
const keys = new KeyTable()

/**
 * Walks JSON text before it is parsed, for what a parser lets pass: keys that come twice or reach into a prototype,
 * integers it would round, numbers it would make infinite, and more objects than memory has room for. The grammar is
 * the parser's business; on text that is not JSON this walk may end either way.
 * @param bytes valid UTF-8
 * @throws RpcError `invalid_argument`
 */
export function scanJson(bytes: Uint8Array): ScannedJson {
  const size = bytes.length
  const scanned = { hasTensors: false, mayBeIllFormed: false }
  let at = 0
  let depth = 0
  let nodes = 0
  let keyComes = false
  isMap[0] = 0
  keys.reset()

  while (at < size) {
    const byte = bytes[at] ?? 0
    switch (byte) {
      case QUOTE: {
        const start = at + 1
        const end = endOfString(bytes, start, scanned)
        const escaped = end < 0
        at = Math.abs(end) + 1
        if (keyComes) {
          keyComes = false
          if (++nodes > LIMITS.maxNodes) throw refuseNodes(at)
          const isTensor = escaped
            ? keys.addEscaped(bytes, unescape(bytes.subarray(start - 1, at)))
            : keys.add(bytes, start, at - 1)
          if (isTensor) scanned.hasTensors = true
        }
        continue
      }
      case 0x7b: // {
      case 0x5b: // [
        if (depth >= LIMITS.maxDepth) {
          throw refuse(`nesting may be at most ${LIMITS.maxDepth} deep, got more at byte ${at}`)
        }
        if (++nodes > LIMITS.maxNodes) throw refuseNodes(at)
        keyComes = byte === 0x7b
        isMap[++depth] = keyComes ? 1 : 0
        if (keyComes) keys.openMap()
        break
      case 0x7d: // }
      case 0x5d: // ]
        if (depth === 0) throw refuse(`expected JSON, got a bracket too many at byte ${at}`)
        if (isMap[depth--] === 1) keys.closeMap()
        keyComes = false
        break
      case 0x2c: // ,
        keyComes = isMap[depth] === 1
        break
      default:
        if (byte === 0x2d || (byte >= 0x30 && byte <= 0x39)) {
          at = endOfNumber(bytes, at)
          continue
        }
    }
    at++
  }
  return scanned
}

/** @returns the place of the closing quote, negated if there is an escape before it */
function endOfString(bytes: Uint8Array, start: number, scanned: ScannedJson): number {
  let sign = 1
  for (let at = start; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0
    if (byte === QUOTE) return sign * at
    if (byte !== BACKSLASH) continue
    sign = -1
    // \uD800 to \uDFFF
    if (bytes[at + 1] === 0x75 && ((bytes[at + 2] ?? 0) | 0x20) === 0x64) scanned.mayBeIllFormed = true
    at++
  }
  throw refuse('expected JSON, got a text without an end')
}

function unescape(literal: Uint8Array): string {
  try {
    return JSON.parse(decodeUtf8(literal))
  } catch (cause) {
    throw invalid(`Cannot decode the message: expected JSON, got ${(cause as Error).message}`, { cause })
  }
}

/** Digits that every integer keeps when read as a double. */
const EXACT_DIGITS = 15
/** Digits that no finite double needs more of before its point. */
const LARGEST_DIGITS = 309

const [DIGIT, SIGN, POINT, EXPONENT] = [1, 2, 4, 8]
/** What a byte is in a number; 0 for those that end it. */
const IN_NUMBER = (() => {
  const kinds = new Uint8Array(256)
  for (const char of '0123456789') kinds[char.charCodeAt(0)] = DIGIT
  for (const char of '+-') kinds[char.charCodeAt(0)] = SIGN
  for (const char of 'eE') kinds[char.charCodeAt(0)] = EXPONENT
  kinds[0x2e] = POINT
  return kinds
})()

function endOfNumber(bytes: Uint8Array, start: number): number {
  let at = start
  let seen = 0
  for (; at < bytes.length; at++) {
    const kind = IN_NUMBER[bytes[at] ?? 0] ?? 0
    if (kind === 0) break
    seen |= kind
  }
  if ((seen & (POINT | EXPONENT)) === 0) {
    if (at - start > EXACT_DIGITS) checkInteger(decodeUtf8(bytes.subarray(start, at)))
  } else if (at - start >= LARGEST_DIGITS || (seen & EXPONENT) !== 0) checkFinite(bytes.subarray(start, at))
  return at
}

function checkFinite(literal: Uint8Array): void {
  const digits = literal.length - 1 - Math.max(literal.lastIndexOf(0x65), literal.lastIndexOf(0x45))
  // An exponent of one or two digits cannot do it alone.
  if (digits <= 2 && literal.length < LARGEST_DIGITS) return
  const text = decodeUtf8(literal)
  if (!Number.isFinite(Number(text))) throw refuse(`numbers must be finite, got ${text.slice(0, 80)}`)
}

/** An integer written out must come back digit for digit: what a double would round is refused, not rounded. */
function checkInteger(text: string): void {
  if (String(Number(text)) !== text) {
    throw refuse(`integers must be exact as doubles, got ${text.slice(0, 80)}; use a string`)
  }
}

function refuseNodes(at: number) {
  return refuse(
    `at most ${LIMITS.maxNodes} objects, arrays and members are accepted (tensors take flat data), got more at byte ${at}`,
  )
}

function refuse(reason: string) {
  return invalid(`Cannot decode the message: ${reason}`)
}
