import { join } from 'node:path'
import process from 'node:process'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type LocalRedis, startRedisServer } from '../../infra/local_redis.ts'
import { openSqliteFence } from '../../shared/stores/sqlite_fence.ts'
import { eventually, realTime } from '../conformance/expectations.ts'
import { ROOT, type Running, startProcess, temporaryFolder } from '../fixtures/process.ts'
import { report } from './figures.ts'

const LEASE_MS = 2_000

let redis: LocalRedis
let folder: Awaited<ReturnType<typeof temporaryFolder>>
const leaders: Running[] = []

beforeEach(async () => {
  redis = await startRedisServer()
  folder = await temporaryFolder()
})
afterEach(async () => {
  for (const leader of leaders) leader.signal('SIGKILL')
  await Promise.all(leaders.splice(0).map(({ ended }) => ended))
  await redis.close()
  await folder[Symbol.asyncDispose]()
})

function startLeader(path: string): Running {
  const program = join(ROOT, 'tests/faults/leader.ts')
  const leader = startProcess(process.execPath, [program, redis.url, path, String(LEASE_MS)])
  leaders.push(leader)
  return leader
}

describe('a leader that is stopped for longer than its lease', () => {
  it('is succeeded, and none of its late writes counts', async () => {
    const path = join(folder.path, 'fence.db')
    const resource = openSqliteFence(path)
    const first = startLeader(path)
    const epochOf = async (leader: Running) => Number((await leader.wrote(/"leads","epoch":(\d+)/))[1])
    const before = await epochOf(first)
    const second = startLeader(path)
    await eventually(async () => (await resource.get('run'))?.epoch === before)

    first.signal('SIGSTOP')
    const after = await epochOf(second)
    await eventually(async () => (await resource.get('run'))?.epoch === after)
    expect(after).toBeGreaterThan(before)
    // The lease was a while old already: the pause is to be longer than a whole one.
    await realTime(LEASE_MS)
    first.signal('SIGCONT')
    const { accepted, refused, abortedFirst, pausedMs } = JSON.parse((await first.wrote(/^\{.*"woke".*\}$/m))[0])

    expect(await resource.get('run')).toEqual({ epoch: after, value: `by ${after}` })
    await resource.close()
    report('leader SIGSTOP > lease', 'new leader; stale writes 0; the first thing after waking is the abort', {
      leaseMs: LEASE_MS,
      pausedMs,
      staleWritesTried: accepted + refused,
      staleWrites: accepted,
      abortedFirst,
    })
    expect([accepted, abortedFirst]).toEqual([0, true])
    expect(refused).toBeGreaterThan(10)
  })
})
