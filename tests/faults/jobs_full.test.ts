import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startNodeGateway } from '../../functions/gateway/node.ts'
import { startRedisServer } from '../../infra/local_redis.ts'
import { silentLog } from '../../shared/base/log.ts'
import type { JobView } from '../../shared/contracts/jobs.ts'
import { eventually, realTime } from '../conformance/expectations.ts'
import { type EchoFunction, startEcho } from '../conformance/gateway_echo.ts'
import { ask } from '../conformance/gateway_http.ts'
import { redisCommand } from '../conformance/redis_command.ts'
import { type Running, startCli, temporaryFolder } from '../fixtures/process.ts'
import { report } from './figures.ts'

const SERVICE = 'full.Echo'
/** Jobs of this many bytes fill what there is soon, and go to the store itself. */
const TEXT = 'x'.repeat(8_000)
const PER_REQUEST = 20

let echo: EchoFunction
let folder: Awaited<ReturnType<typeof temporaryFolder>>

beforeEach(async () => {
  echo = await startEcho(SERVICE)
  folder = await temporaryFolder()
})
afterEach(async () => {
  await echo.close()
  await folder[Symbol.asyncDispose]()
})

interface Filled {
  acknowledged: string[]
  /** Statuses of what was refused. */
  refused: number[]
}

/** Submits until so many submissions in a row were refused, and notes what was acknowledged. */
async function fill(url: string, refusals: number): Promise<Filled> {
  const filled: Filled = { acknowledged: [], refused: [] }
  const json = Array.from({ length: PER_REQUEST }, () => ({
    service: SERVICE,
    method: 'echo',
    params: { text: TEXT },
    // What cannot be done for now is tried again for as long as it takes.
    options: { maxAttempts: 100 },
  }))
  while (filled.refused.length < refusals) {
    const answer = await ask(url, 'POST', '/jobs', { json })
    if (answer.status === 202) filled.acknowledged.push(...answer.json.ids)
    else filled.refused.push(answer.status)
    if (filled.acknowledged.length > 20_000) throw new Error('Expected it to be full by now')
  }
  return filled
}

/**
 * Between looks: a thousand are longer than the minute that a job may wait for its next try, after it failed often while
 * the store was filled.
 */
const LOOK_MS = 100

/** Waits until all are done. @returns those that are not there */
async function lostOf(url: string, ids: readonly string[]): Promise<string[]> {
  const lost: string[] = []
  for (const id of ids) {
    await eventually(async () => {
      const { status, json } = await ask(url, 'GET', `/jobs/${id}`)
      if (status === 404) lost.push(id)
      return status === 404 || (json as JobView).state === 'done'
    }, () => realTime(LOOK_MS))
  }
  return lost
}

describe('jobs where there is no more room', () => {
  it('Redis out of memory: refused with 503, and none that was acknowledged is lost', async () => {
    await using redis = await startRedisServer({ args: ['--maxmemory', '6mb', '--maxmemory-policy', 'noeviction'] })
    const options = { host: '127.0.0.1', port: 0, dataDir: folder.path, log: silentLog }
    const gateway = await startNodeGateway({ ...options, env: { REDIS_URL: redis.url } })
    try {
      const filled = await fill(gateway.url, 5)
      await redisCommand(redis.url, 'CONFIG', 'SET', 'maxmemory', '0')
      await ask(gateway.url, 'POST', '/registry/instances', { json: echo.record })
      const lost = await lostOf(gateway.url, filled.acknowledged)
      expect([new Set(filled.refused), lost]).toEqual([new Set([503]), []])
      expect(filled.acknowledged.length).toBeGreaterThan(0)
      const later = await ask(gateway.url, 'POST', '/jobs', { json: { service: SERVICE, method: 'echo', params: {} } })
      expect(later.status).toBe(202)
      report('33 Redis out of memory', '503, acknowledged but lost 0', {
        acknowledged: filled.acknowledged.length,
        'statuses of what was refused': [...new Set(filled.refused)].join(' '),
        'acknowledged but lost': lost.length,
      })
    } finally {
      await gateway.close()
    }
  }, 180_000)

  it('disk full: refused with 503, and none that was acknowledged is lost, even if it is killed then', async () => {
    const started: Running[] = []
    const start = async () => {
      const gateway = startCli(['start', '--port', '0', '--workers', '0', '--no-demo', '--data-dir', folder.path])
      started.push(gateway)
      const [, url = ''] = await gateway.wrote(/^shoal ready (http:\S+)$/m)
      return { gateway, url }
    }
    try {
      const { gateway, url } = await start()
      // No file of the gateway's may grow beyond this: to SQLite that is a disk without room.
      const { size } = statSync(join(folder.path, 'shoal.db'))
      limitFiles(gateway.pid, size + 2 * 1024 * 1024)
      const filled = await fill(url, 5)
      // The worst that may come then: what it has not told the disk is gone.
      gateway.signal('SIGKILL')
      await gateway.ended
      const after = await start()
      await ask(after.url, 'POST', '/registry/instances', { json: echo.record })
      const lost = await lostOf(after.url, filled.acknowledged)
      expect([new Set(filled.refused), lost]).toEqual([new Set([503]), []])
      expect(filled.acknowledged.length).toBeGreaterThan(0)
      report('33 disk full', '503, acknowledged but lost 0', {
        acknowledged: filled.acknowledged.length,
        'statuses of what was refused': [...new Set(filled.refused)].join(' '),
        'acknowledged but lost': lost.length,
      })
    } finally {
      await Promise.all(started.map((one) => one.stop()))
    }
  }, 180_000)
})

function limitFiles(pid: number, maxBytes: number): void {
  const { status, stderr } = spawnSync('prlimit', ['--pid', String(pid), `--fsize=${maxBytes}`], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`Cannot limit files: prlimit must exit with 0, got ${status}: ${stderr}`)
}
