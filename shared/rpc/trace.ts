import { decodeUtf8, encodeUtf8, writeHex } from '../base/bytes.ts'

/** W3C Trace Context, level 1. https://www.w3.org/TR/trace-context/ */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

/** The caller's trace context if it is valid, else a new sampled trace. */
export function continueTrace(traceparent: string | null | undefined): string {
  return traceparent && TRACEPARENT.test(traceparent) ? traceparent : newTrace()
}

export function newTrace(): string {
  if (used === drawn.length) {
    drawn = drawTraces()
    used = 0
  }
  return drawn[used++] ?? ''
}

/** Traces drawn ahead: to draw, and to write as hexadecimal, costs as much for one as for many. */
let drawn: readonly string[] = []
let used = 0

const DRAWN_AT_ONCE = 128
const [TRACE_BYTES, SPAN_BYTES] = [16, 8]
const FORM = encodeUtf8(`00-${'0'.repeat(2 * TRACE_BYTES)}-${'0'.repeat(2 * SPAN_BYTES)}-01`)
const [TRACE_AT, SPAN_AT] = [3, 4 + 2 * TRACE_BYTES]

function drawTraces(): string[] {
  const ids = crypto.getRandomValues(new Uint8Array(DRAWN_AT_ONCE * (TRACE_BYTES + SPAN_BYTES)))
  const text = new Uint8Array(DRAWN_AT_ONCE * FORM.byteLength)
  for (let i = 0, id = 0; i < text.byteLength; i += FORM.byteLength, id += TRACE_BYTES + SPAN_BYTES) {
    text.set(FORM, i)
    writeHex(ids, id, id + TRACE_BYTES, text, i + TRACE_AT)
    writeHex(ids, id + TRACE_BYTES, id + TRACE_BYTES + SPAN_BYTES, text, i + SPAN_AT)
  }
  const traces = decodeUtf8(text)
  return Array.from({ length: DRAWN_AT_ONCE }, (_, i) => traces.slice(i * FORM.byteLength, (i + 1) * FORM.byteLength))
}
