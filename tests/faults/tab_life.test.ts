import type { Browser, CDPSession, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { buildWeb } from '../../infra/build_web.ts'
import { DEFAULTS } from '../../shared/base/defaults.ts'
import { eventually } from '../conformance/expectations.ts'
import { ask } from '../conformance/gateway_http.ts'
import { launchChromium } from '../runtime/chromium.ts'
import { report } from './figures.ts'
import { callAll, type GatewayPool, startPool } from './gateway_pool.ts'

// What becomes of a tab that serves, in real Chromium on WebGPU: hidden, shown, its GPU process killed, itself killed.

const LOAD = { calls: 60, callers: 6 }

let pool: GatewayPool
let browser: Browser
let page: Page
let devtools: CDPSession
const lost = { calls: 0, failed: 0, wrong: 0 }

beforeAll(async () => {
  ;[browser] = await Promise.all([launchChromium(), buildWeb()])
  pool = await startPool()
  pool.join('steady')
  page = await browser.newPage()
  devtools = await browser.newBrowserCDPSession()
  await page.goto(`${pool.url}/join?device=webgpu#name=tab`)
  await eventually(async () => (await listed()).length === 2)
}, 120_000)

afterAll(async () => {
  report('tab hidden, shown, GPU, killed', 'the pool loses no call', lost)
  await browser?.close()
  await pool?.[Symbol.asyncDispose]()
})

async function listed(): Promise<{ name: string; share?: number; served: number }[]> {
  return (await ask(pool.url, 'GET', '/workers')).json.workers
}
const tab = async () => (await listed()).find(({ name }) => name === 'tab')

/** Calls without a pause, and in the midst of them something happens to the tab. */
async function callWhile(happens: () => Promise<unknown>): Promise<void> {
  let happening: Promise<unknown> | undefined
  const outcome = await callAll(pool.url, LOAD, (answered) => {
    if (answered === LOAD.calls / 3) happening = happens()
  })
  await happening
  lost.calls += outcome.answered
  lost.failed += outcome.failed.length
  lost.wrong += outcome.wrong.length
  expect([outcome.failed, outcome.wrong, outcome.answered]).toEqual([[], [], LOAD.calls])
}

/**
 * Headless Chromium shows every page, whatever is in front of it: the page is told what a browser would tell it. How far a
 * browser then slows it down is not seen here.
 */
function setVisibility(state: 'hidden' | 'visible'): Promise<void> {
  return page.evaluate((state) => {
    Object.defineProperty(document, 'visibilityState', { value: state, configurable: true })
    document.dispatchEvent(new Event('visibilitychange'))
  }, state)
}

it('a tab that is hidden goes on, and offers less until it is shown', async () => {
  await callWhile(() => setVisibility('hidden'))
  await eventually(async () => (await tab())?.share === DEFAULTS.hiddenShare)
  await callWhile(() => setVisibility('visible'))
  await eventually(async () => (await tab())?.share === undefined)
}, 120_000)

it('a tab whose GPU process is killed serves again by itself', async () => {
  await callWhile(() => devtools.send('Browser.crashGpuProcess').catch(() => {}))
  const before = (await tab())?.served ?? 0
  await eventually(async () => {
    await callWhile(() => Promise.resolve())
    return ((await tab())?.served ?? 0) > before
  })
}, 180_000)

it('a tab that is killed leaves its calls to others', async () => {
  const crashed = new Promise<unknown>((resolve) => page.once('crash', resolve))
  await callWhile(async () => {
    page.goto('chrome://crash').catch(() => {})
    await crashed
  })
  await eventually(async () => (await tab()) === undefined)
}, 120_000)
