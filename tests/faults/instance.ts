/**
 * An instance of demo.Who in a process of its own: it serves over HTTP and keeps its lease in Redis. Argument: its
 * settings as JSON. SIGTERM: it leaves and ends. SIGUSR2: its clock of the day is set back by an hour.
 */
import type { AddressInfo } from 'node:net'
import process from 'node:process'
import { serve as listen } from '@hono/node-server'
import { sleep, systemClock } from '../../shared/base/clock.ts'
import { silentLog } from '../../shared/base/log.ts'
import { newId, seededRandom } from '../../shared/base/random.ts'
import { Announcer } from '../../shared/registry/announcer.ts'
import { serve } from '../../shared/registry/serve.ts'
import type { Instance, LeaseStore } from '../../shared/stores/lease_store.ts'
import { redisLeases } from '../../shared/stores/redis_store.ts'
import { tcpRedis } from '../../shared/stores/tcp_redis.ts'
import { upstashRedis } from '../../shared/stores/upstash_redis.ts'
import { type ErrorCode, RpcError } from '../../shared/wire/errors.ts'
import { Who } from './who.ts'

export interface InstanceSettings {
  id: string
  /** Over TCP, or over REST. */
  redis: { url: string; token?: string }
  ttlMs: number
  /** Part of the beats that never leave this process. */
  dropBeats?: number
  /** So many of them, one by default: `id` with a number after it, each with beats of its own, at one address. */
  copies?: number
}

/** How it answers from now on. Told by `POST /conduct`, which says how many calls came since it was last told. */
export interface Conduct {
  delayMs?: number
  /** Every call fails with this code; of each `everyMs`, where given, those of the first `failsForMs`. */
  fails?: ErrorCode
  failsForMs?: number
  everyMs?: number
}

const settings = JSON.parse(process.argv[2] ?? '') as InstanceSettings
const { id, redis: { url, token }, ttlMs, dropBeats = 0, copies } = settings
const ids = copies === undefined ? [id] : Array.from({ length: copies }, (_, i) => `${id}${i}`)

const leases = redisLeases(token === undefined ? tcpRedis(url) : upstashRedis({ url, token }))

let conduct: Conduct = {}
let calls = 0
const app = serve(Who, {
  async who() {
    calls++
    const { delayMs, fails, failsForMs = 1, everyMs = 1 } = conduct
    if (delayMs !== undefined) await sleep(systemClock, delayMs)
    if (fails && Date.now() % everyMs < failsForMs) throw new RpcError(fails, 'Cannot answer: told not to')
    return { id }
  },
  look: ({ ms }) => sleep(systemClock, ms).then(() => ({ id })),
  change({ ms, call }) {
    // The effect, for the test to count.
    console.log(`changed ${call}.`)
    return sleep(systemClock, ms).then(() => ({ id }))
  },
})
app.post('/conduct', async (context) => {
  conduct = await context.req.json()
  const answer = { calls }
  calls = 0
  return context.json(answer)
})
const server = listen({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, async ({ port }: AddressInfo) => {
  const announcers = ids.map((id) => announce(id, `http://127.0.0.1:${port}`))
  await Promise.all(announcers.map((announcer) => announcer.start()))
  console.log(`instance ready ${port}`)
  process.on('SIGTERM', async () => {
    await Promise.all(announcers.map((announcer) => announcer.stop()))
    server.close()
    process.exit(0)
  })
})

function announce(id: string, address: string): Announcer {
  const instance: Instance = {
    id,
    service: Who.name,
    version: Who.version,
    group: 'default',
    address: { kind: 'url', url: address },
    incarnation: newId('life'),
    ttlMs,
    weight: 1,
    zone: '',
  }
  const deps = { leases: dropping(id), clock: systemClock, random: Math.random, log: silentLog }
  return new Announcer(deps, [instance], ttlMs / 3)
}

process.on('SIGUSR2', () => {
  const { now } = Date
  Date.now = () => now() - 3_600_000
})

/** Drops beats at random but for the first, from a seed of its id: no two instances drop the same. */
function dropping(id: string): Pick<LeaseStore, 'renew' | 'leave'> {
  const random = seededRandom([...id].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7))
  let isFirst = true
  return {
    leave: (...args) => leases.leave(...args),
    renew(instances) {
      const isDropped = !isFirst && random() < dropBeats
      isFirst = false
      return isDropped ? Promise.reject(new RpcError('unavailable', 'dropped')) : leases.renew(instances)
    },
  }
}
