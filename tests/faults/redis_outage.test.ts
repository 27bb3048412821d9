import { createServer } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type LocalRedis, startRedisServer } from '../../infra/local_redis.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { eventually, realTime } from '../conformance/expectations.ts'
import { redisCommand } from '../conformance/redis_command.ts'
import { temporaryFolder } from '../fixtures/process.ts'
import { report } from './figures.ts'
import { failures, LEASE_MS, Load, percentileMs, RegistryScene, tableIn } from './registry_scene.ts'

/** Longer than a lease: what holds for 30 s and leases of 15 s holds for it. */
const OUTAGE_MS = 5_000

let redis: LocalRedis
let folder: Awaited<ReturnType<typeof temporaryFolder>>

beforeEach(async () => {
  folder = await temporaryFolder()
  redis = await startRedisServer()
})
afterEach(async () => {
  await redis.close()
  await folder[Symbol.asyncDispose]()
})

const open = (ids: readonly string[], ttlMs: number = LEASE_MS) =>
  RegistryScene.open({ REDIS_URL: redis.url }, ids.map((id) => ({ id, redis: { url: redis.url }, ttlMs })))

/** Another Redis at the same address, with what is in its folder. */
async function restart(args: string[] = []): Promise<void> {
  const { port } = redis
  await redis.close()
  redis = await startRedisServer({ port, args })
}

describe('Redis', () => {
  it('is killed for longer than a lease: routing goes on, and all beat again when it is back', async () => {
    await using scene = await open(['a', 'b', 'c'])
    const load = new Load(scene)
    await realTime(1_000)
    await redis.kill('SIGKILL')
    let ageSeconds = 0
    for (const endMs = performance.now() + OUTAGE_MS; performance.now() < endMs; await realTime(250)) {
      ageSeconds = Math.max(ageSeconds, await scene.metric('shoal_registry_table_age_seconds'))
      expect(await scene.listed()).toEqual(['a', 'b', 'c'])
    }
    await restart()
    await eventually(async () => (await tableIn(redis)).length === 3)
    await eventually(async () => await scene.metric('shoal_registry_table_age_seconds') < 1.5)
    const calls = await load.stop()
    report('1 Redis SIGKILL', 'routing goes on: failed calls 0; the table ages and recovers', {
      outageMs: OUTAGE_MS,
      leaseMs: LEASE_MS,
      calls: calls.length,
      failedCalls: failures(calls).length,
      tableAgeMaxSeconds: Math.round(ageSeconds * 10) / 10,
    })
    expect(failures(calls)).toEqual([])
    expect(ageSeconds).toBeGreaterThan(OUTAGE_MS / 1000 - 2)
  })

  it('is stopped for longer than a lease: no call waits for it, and nobody is evicted when it goes on', async () => {
    await using scene = await open(['a', 'b', 'c'])
    const load = new Load(scene)
    await realTime(500)
    const before = await load.during(2_500)
    await redis.kill('SIGSTOP')
    const during = await load.during(OUTAGE_MS)
    await redis.kill('SIGCONT')
    let evicted = 0
    for (const endMs = performance.now() + LEASE_MS; performance.now() < endMs; await realTime(50)) {
      evicted = Math.max(evicted, 3 - (await tableIn(redis)).length)
    }
    const calls = await load.stop()
    report('2 Redis SIGSTOP', 'time-outs inside the budget: failed calls 0, added p99 about 0', {
      outageMs: OUTAGE_MS,
      leaseMs: LEASE_MS,
      calls: calls.length,
      failedCalls: failures(calls).length,
      p99BeforeMs: percentileMs(before, 0.99),
      p99DuringMs: percentileMs(during, 0.99),
      addedP99Ms: percentileMs(during, 0.99) - percentileMs(before, 0.99),
      wrongEvictions: evicted,
    })
    expect(failures(calls)).toEqual([])
    expect(evicted).toBe(0)
    expect(during.length).toBeGreaterThan(30)
  })

  it('is restarted empty: no table is emptied, and the next beats fill it', async () => {
    // In earnest, so that a while passes between the restart and the beats.
    await using scene = await open(['a', 'b', 'c'], DEFAULTS.relayLeaseMs)
    const load = new Load(scene)
    await realTime(500)
    await redis.kill('SIGKILL')
    await restart()
    const startedAtMs = performance.now()
    await eventually(async () => (await tableIn(redis)).length === 3)
    const rebuiltMs = Math.round(performance.now() - startedAtMs)
    await realTime(1_500)
    const calls = await load.stop()
    report('3 Redis restarted empty', 'rebuilt in one heartbeat: failed calls 0', {
      beatMs: DEFAULTS.relayBeatMs,
      rebuiltMs,
      calls: calls.length,
      failedCalls: failures(calls).length,
    })
    expect(failures(calls)).toEqual([])
  })

  it('goes back to an old snapshot: who has gone since is not called', async () => {
    await redis.close()
    redis = await startRedisServer({ args: ['--dir', folder.path] })
    await using scene = await open(['a', 'b'])
    // By its lease it could be alive for a minute yet.
    const doomed = await scene.start({ id: 'doomed', redis: { url: redis.url }, ttlMs: 60_000 })
    await eventually(async () => (await scene.listed()).length === 3)
    await redisCommand(redis.url, 'SAVE')
    await doomed.running.stop()
    // Whoever calls it from now on is counted.
    let callsToTheDead = 0
    const grave = createServer((socket) => {
      callsToTheDead++
      socket.destroy()
    })
    await new Promise<void>((resolve) => grave.listen(doomed.port, '127.0.0.1', resolve))
    await eventually(async () => (await scene.call()).ok && !(await scene.listed()).includes('doomed'))
    const load = new Load(scene)
    // By now the gateway's own table has heard of it too.
    await realTime(1_500)
    callsToTheDead = 0
    await redis.kill('SIGKILL')
    await restart(['--dir', folder.path])
    const restored = (await tableIn(redis)).map(({ id }) => id)
    await realTime(LEASE_MS)
    const calls = await load.stop()
    await new Promise((resolve) => grave.close(resolve))
    report('4 old snapshot restored', 'a dead instance is not routed to', {
      restoredDead: restored.includes('doomed'),
      calls: calls.length,
      callsToTheDead,
      failedCalls: failures(calls).length,
    })
    expect(restored).toContain('doomed')
    expect([callsToTheDead, failures(calls)]).toEqual([0, []])
  })
})
