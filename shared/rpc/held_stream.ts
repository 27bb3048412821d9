import type { Payload } from '../wire/payload.ts'

/**
 * A stream that holds something, a place or a part of a load, until it ends or its reader leaves it. One that nobody begins
 * to read has no end: its caller's signal is that.
 * @param leave is called at least once; more than once does no harm
 */
export function holding(
  payloads: AsyncIterable<Payload>,
  signal: AbortSignal,
  leave: () => void,
): AsyncIterable<Payload> {
  let begun = false
  const onAbort = () => {
    if (!begun) leave()
  }
  signal.addEventListener('abort', onAbort, { once: true })
  return (async function* () {
    begun = true
    try {
      yield* payloads
    } finally {
      signal.removeEventListener('abort', onAbort)
      leave()
    }
  })()
}
