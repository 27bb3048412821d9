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
  const ids = toHex(crypto.getRandomValues(new Uint8Array(24)))
  return `00-${ids.slice(0, 32)}-${ids.slice(32)}-01`
}
