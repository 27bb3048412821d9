import { toHex } from '../base/bytes.ts'

/** W3C Trace Context, level 1. https://www.w3.org/TR/trace-context/ */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

/** The caller's trace context if it is valid, else a new sampled trace. */
export function continueTrace(traceparent: string | null | undefined): string {
  return traceparent && TRACEPARENT.test(traceparent) ? traceparent : newTrace()
}

export function newTrace(): string {
  if (used === drawn.length) {
    drawn = drawIds()
    used = 0
  }
  return drawn[used++] ?? ''
}

/** Ids drawn ahead: to draw, and to write as hexadecimal, costs as much for one as for many. */
let drawn: readonly string[] = []
let used = 0

const DRAWN_AT_ONCE = 128
/** Of a trace id and a span id together, and of the first. */
const ID_DIGITS = 48
const TRACE_DIGITS = 32

function drawIds(): string[] {
  const bytes = crypto.getRandomValues(new Uint8Array(DRAWN_AT_ONCE * ID_DIGITS / 2))
  const digits = toHex(bytes)
  return Array.from({ length: DRAWN_AT_ONCE }, (_, i) => {
    const at = i * ID_DIGITS
    return `00-${digits.slice(at, at + TRACE_DIGITS)}-${digits.slice(at + TRACE_DIGITS, at + ID_DIGITS)}-01`
  })
}
