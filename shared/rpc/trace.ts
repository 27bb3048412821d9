import { toHex } from '../base/bytes.ts'

/** W3C Trace Context, level 1. https://www.w3.org/TR/trace-context/ */
const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/

/** The caller's trace context if it is valid, else a new sampled trace. */
export function continueTrace(traceparent: string | null | undefined): string {
  const parsed = traceparent ? TRACEPARENT.exec(traceparent) : null
  const valid = parsed && !/^0+$/.test(parsed[1] ?? '') && !/^0+$/.test(parsed[2] ?? '')
  return valid && traceparent ? traceparent : newTrace()
}

export function newTrace(): string {
  if (used + ID_BYTES > pool.length) {
    crypto.getRandomValues(pool)
    used = 0
  }
  const ids = toHex(pool.subarray(used, used += ID_BYTES))
  return `00-${ids.slice(0, 32)}-${ids.slice(32)}-01`
}

/** A trace id and a span id. */
const ID_BYTES = 24
/** Random bytes drawn many at a time: one draw costs as much for 24 bytes as for thousands. */
const pool = new Uint8Array(ID_BYTES * 128)
let used = pool.length
