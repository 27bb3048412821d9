/**
 * A leader that writes and writes, and does not look whether it still leads: it stands for one that was paused between
 * looking and writing. Arguments: url of Redis, file of the fence, lease in ms. What happens goes to stdout, line by line.
 */
import process from 'node:process'
import { systemClock } from '../../shared/base/clock.ts'
import { terms } from '../../shared/registry/campaign.ts'
import { fenced } from '../../shared/stores/fence.ts'
import { redisElections } from '../../shared/stores/redis_election.ts'
import { openSqliteFence } from '../../shared/stores/sqlite_fence.ts'
import { tcpRedis } from '../../shared/stores/tcp_redis.ts'

const [url = '', path = '', ttl = ''] = process.argv.slice(2)
const [ttlMs, writeEveryMs, writesTooMany] = [Number(ttl), 10, 20]
const resource = openSqliteFence(path)
const store = redisElections(tcpRedis(url))
const say = (event: Record<string, unknown>) => console.log(JSON.stringify({ pid: process.pid, ...event }))

for await (const term of terms({ store, name: 'trainer', ttlMs, clock: systemClock, random: Math.random })) {
  const { epoch } = term
  const write = fenced(resource, epoch)
  let [accepted, refused, left] = [0, 0, writesTooMany]
  let paused: Record<string, unknown> | undefined
  say({ event: 'leads', epoch })
  for (let lastMs = performance.now(); left > 0; lastMs = performance.now()) {
    await new Promise((resolve) => setTimeout(resolve, writeEveryMs))
    if (performance.now() - lastMs > ttlMs) {
      // The first thing after waking. From here on every write is stale.
      paused = { pausedMs: Math.round(performance.now() - lastMs), abortedFirst: term.signal.aborted }
      accepted = refused = 0
    }
    await write.put('run', `by ${epoch}`).then(() => accepted++, () => refused++)
    if (paused) left--
  }
  say({ event: 'woke', epoch, ...paused, accepted, refused })
}
