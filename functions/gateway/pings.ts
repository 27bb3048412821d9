import type { SSEStreamingApi } from 'hono/streaming'
import { type Clock, every } from '../../shared/base/clock.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'

/**
 * Comments between server-sent events until stopped, so that a line that has gone is noticed at both ends, and proxies do not
 * cut one on which nothing happens.
 */
export function pings(stream: SSEStreamingApi, clock: Clock): () => void {
  return every(clock, DEFAULTS.pingIntervalMs, () => void stream.write(':\n\n'))
}
