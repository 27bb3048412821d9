import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { buildWeb } from '../../infra/build_web.ts'
import { eventually } from '../conformance/expectations.ts'
import { ask } from '../conformance/gateway_http.ts'
import { metricAt } from '../conformance/gateway_metrics.ts'
import type { Running } from '../fixtures/process.ts'
import { launchChromium } from '../runtime/chromium.ts'
import { report } from './figures.ts'
import { callAll, type GatewayPool, startPool } from './gateway_pool.ts'

const LOAD = { calls: 200, callers: 16 }
const ALL_RIGHT = { answered: LOAD.calls, failed: [], wrong: [], toldToComeBack: 0, latenciesMs: expect.any(Array) }

let pool: GatewayPool
let steady: Running
let browser: Browser

const haveJoined = (...names: string[]) =>
  eventually(async () => {
    const listed = (await pool.workers()).map(({ name }) => name)
    return names.length === listed.length && names.every((name) => listed.includes(name))
  })

beforeAll(async () => {
  const [launched] = await Promise.all([launchChromium(), buildWeb()])
  browser = launched
  pool = await startPool()
  steady = pool.join('steady')
})

afterAll(async () => {
  await browser?.close()
  await pool?.[Symbol.asyncDispose]()
  expect((await steady.ended).code).toBe(0)
})

it('no call fails while a worker is killed and the tab of another is closed', async () => {
  const doomed = pool.join('doomed')
  const tab = await browser.newPage()
  await tab.goto(`${pool.url}/join?device=webgpu#name=tab`)
  await haveJoined('steady', 'doomed', 'tab')
  expect((await pool.workers()).map(({ name, device }) => `${name} ${device}`).sort()).toEqual([
    'doomed wasm',
    'steady wasm',
    'tab webgpu',
  ])
  let closed: Promise<void> | undefined
  const outcome = await callAll(pool.url, LOAD, (answered) => {
    if (answered === LOAD.calls / 4) doomed.signal('SIGKILL')
    if (answered === LOAD.calls / 2) closed = tab.close()
  })
  expect(outcome).toEqual(ALL_RIGHT)
  await closed
  expect((await doomed.ended).signal).toBe('SIGKILL')
  // The faults struck workers at work: what they had in hand went to others.
  expect(await metricAt(pool.url, 'shoal_pool_calls_requeued_total')).toBeGreaterThan(0)
  await haveJoined('steady')
}, 120_000)

it('no call fails while a worker is asked to leave', async () => {
  const leaving = pool.join('leaving')
  await haveJoined('steady', 'leaving')
  const outcome = await callAll(pool.url, LOAD, (answered) => {
    if (answered === LOAD.calls / 4) leaving.signal('SIGTERM')
  })
  expect(outcome).toEqual(ALL_RIGHT)
  report('12 SIGTERM: worker', 'failed 0', {
    calls: LOAD.calls,
    failed: outcome.failed.length,
    wrong: outcome.wrong.length,
  })
  const { code, stderr } = await leaving.ended
  expect([code, stderr]).toEqual([0, ''])
  await haveJoined('steady')
}, 120_000)

it('workers come back by themselves to a gateway that was killed and started again', async () => {
  await haveJoined('steady')
  pool.gateway.signal('SIGKILL')
  await pool.restart()
  await haveJoined('steady')
  const outcome = await callAll(pool.url, { calls: 20, callers: 4 }, () => {})
  expect(outcome).toEqual({ answered: 20, failed: [], wrong: [], toldToComeBack: 0, latenciesMs: expect.any(Array) })
  // Its models and what it signs with outlived it.
  expect((await ask(pool.url, 'GET', '/v2/models/busy/ready')).json).toEqual({ name: 'busy', ready: true })
}, 120_000)
