import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'
import { DEMO_MODEL_NAME, readDemoModel } from '../../../functions/demo/files.ts'
import { type RunningGateway, startNodeGateway } from '../../../functions/gateway/node.ts'
import { buildWeb } from '../../../infra/build_web.ts'
import { silentLog } from '../../../shared/base/log.ts'
import type { KeyRecord } from '../../../shared/stores/keys.ts'
import { launchChromium } from '../chromium.ts'

const PATIENCE_MS = 90_000

let browser: Browser
/** The profile of the test that runs; what its pages keep they keep by gateway, and by tab. */
let profile: Promise<BrowserContext> | undefined
/** What went wrong in the pages that a test opened. */
export const problems: string[] = []
const gateways: { gateway: RunningGateway; dataDir: string }[] = []

/** Gives the tests of a file one browser; pages and gateways that a test opens are closed after it. */
export function withBrowser(): void {
  beforeAll(async () => {
    await buildWeb()
    browser = await launchChromium()
  }, 120_000)

  afterEach(async () => {
    // With its context go the sockets that a browser keeps open: a gateway waits for them.
    await (await profile)?.close()
    profile = undefined
    for (const { gateway, dataDir } of gateways.splice(0)) {
      await gateway.close()
      await rm(dataDir, { recursive: true })
    }
    expect(problems.splice(0)).toEqual([])
  })

  afterAll(() => browser?.close())
}

/** A gateway with the demo model and no worker. */
export async function openGateway(keys: readonly KeyRecord[] = [], adminKey = ''): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), 'shoal-pages-'))
  const env = keys.length > 0 ? { SHOAL_KEYS: JSON.stringify(keys) } : {}
  const gateway = await startNodeGateway({ host: '127.0.0.1', port: 0, dataDir, env, log: silentLog })
  gateways.push({ gateway, dataDir })
  const pushed = await fetch(`${gateway.url}/models/${DEMO_MODEL_NAME}/versions/1`, {
    method: 'PUT',
    body: await readDemoModel(),
    headers: { authorization: `Bearer ${adminKey}` },
  })
  expect(pushed.status).toBe(200)
  return gateway.url
}

/** A page in a window of the test's own: any error in it, and any violation of its content security policy, fails the test. */
export async function openPage(url: string): Promise<Page> {
  const page = await (await (profile ??= newProfile())).newPage()
  page.on('pageerror', (error) => problems.push(`${page.url()}: ${error.message}`))
  page.on('console', (message) => {
    // The browser itself reports each refused request; asking without a key is how the page learns that it needs one.
    const refused = /status of 40[13]/.test(message.text())
    if (message.type() === 'error' && !refused) problems.push(`${page.url()}: ${message.text()}`)
  })
  await page.exposeFunction('reportViolation', (what: string) => problems.push(`${page.url()}: CSP ${what}`))
  await page.addInitScript(
    `addEventListener('securitypolicyviolation', (event) => reportViolation(event.violatedDirective + ' ' + event.blockedURI))`,
  )
  await page.goto(url)
  return page
}

/** With patience for a machine that others keep busy. */
async function newProfile(): Promise<BrowserContext> {
  const context = await browser.newContext()
  context.setDefaultTimeout(PATIENCE_MS)
  return context
}

export const headline = (page: Page, text: string) => page.locator('#headline', { hasText: text }).waitFor()
export const text = (page: Page, selector: string) => page.locator(selector).innerText()

export async function workersOf(gateway: string, key = ''): Promise<Record<string, unknown>[]> {
  const response = await fetch(`${gateway}/workers`, { headers: { authorization: `Bearer ${key}` } })
  return (await response.json() as { workers: Record<string, unknown>[] }).workers
}
