import type { Browser, Page } from 'playwright-core'
import type { Log } from '../../shared/base/log.ts'
import type { DeviceWish } from '../../shared/engine/detect.ts'

/**
 * What is left out of Chromium. The pages of its address bar are a renderer more for each window, and half of what a window
 * costs; of switches given twice the last counts, so that the rest is what Playwright leaves out, as far as it matters here:
 * requests to others when it starts, and what may come between a page and a gateway.
 */
const DISABLED_FEATURES = [
  'WebUIOmniboxAimPopup',
  'WebUIOmniboxPopup',
  'AimEnabled',
  'NetworkTimeServiceQuerying',
  'OptimizationHints',
  'PreconnectToSearch',
  'AvoidUnnecessaryBeforeUnloadCheckSync',
  'DestroyProfileOnBrowserClose',
  'HttpsFirstBalancedModeAutoEnable',
  'HttpsUpgrades',
  'LensOverlay',
  'MediaRouter',
  'PaintHolding',
  'ThirdPartyStoragePartitioning',
]

/** Headless Chromium that computes on a GPU and talks to nobody but the gateway. */
export const CHROMIUM_FLAGS = [
  `--disable-features=${DISABLED_FEATURES}`,
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--enable-unsafe-webgpu',
]

export interface AdapterSummary {
  name: string
  software: boolean
}

export interface ChromiumWorker {
  /** Resolves when the browser has gone, for whatever reason. */
  gone: Promise<void>
  stop(): Promise<void>
}

/**
 * @param gateway whose pages it opens. Over plain HTTP they would have neither WebGPU nor Web Crypto, unless on loopback: it
 * is its owner who names the gateway, and what goes there is no more open to others than what a worker on Node sends.
 */
export async function launchChromium(executablePath: string, gateway?: string): Promise<Browser> {
  // As large as all the rest of Shoal: who starts no Chromium, as `shoal train` at most times, starts sooner without it.
  const { chromium } = await import('playwright-core')
  return await chromium.launch({
    executablePath,
    headless: true,
    args: gateway === undefined
      ? CHROMIUM_FLAGS
      : [...CHROMIUM_FLAGS, `--unsafely-treat-insecure-origin-as-secure=${new URL(gateway).origin}`],
    handleSIGINT: false,
    handleSIGTERM: false,
  })
}

/** The adapter that this Chromium finds; undefined if there is none. `page` must be of a secure origin. */
export async function findAdapter(page: Page): Promise<AdapterSummary | undefined> {
  return await page.evaluate(async () => {
    const adapter = await navigator.gpu?.requestAdapter()
    if (!adapter) return undefined
    const { vendor, architecture, description, isFallbackAdapter } = adapter.info
    return { name: [vendor, architecture, description].filter(Boolean).join(' '), software: isFallbackAdapter }
  })
}

export interface JoinOptions {
  gateway: string
  /** The API key, passed in the URL's fragment, which is never sent. */
  key: string | undefined
  wish: DeviceWish
  /** As in AgentDeps. */
  memoryBytes?: number
  name: string
  log: Log
  /** Hears what the page is doing, as its `data-phase` says, and in its words why. */
  onPhase?(phase: string, detail: string): void
}

/** The function through which the page tells. */
const TELL = 'shoalPhase'

/** Runs in the page. */
function watchPhase(tellName: string): void {
  const tell = (globalThis as unknown as Record<string, (phase: string, detail: string) => void>)[tellName]
  const textOf = (id: string) => document.getElementById(id)?.textContent ?? ''
  const beacon = document.getElementById('beacon')
  const look = () => tell?.(beacon?.dataset.phase ?? '', textOf('key-reason') || textOf('detail'))
  if (beacon) new MutationObserver(look).observe(beacon, { attributeFilter: ['data-phase'] })
  look()
}

/**
 * Enrols a headless Chromium by opening the gateway's own join page in it: the bundle that tabs run.
 */
export async function joinWithChromium(
  browser: Browser,
  options: JoinOptions,
): Promise<ChromiumWorker> {
  const page = await browser.newPage()
  page.on('pageerror', (error) => options.log('error', 'page failed', { reason: error.message }))
  page.on('crash', () => void browser.close())
  const gone = new Promise<void>((resolve) => browser.on('disconnected', () => resolve()))
  const fragment = new URLSearchParams({ name: options.name, ...(options.key && { key: options.key }) })
  await page.exposeFunction(TELL, (phase: string, detail: string) => options.onPhase?.(phase, detail))
  const memory = options.memoryBytes === undefined ? '' : `&memory=${options.memoryBytes}`
  await page.goto(`${options.gateway}/join?device=${options.wish}${memory}#${fragment}`)
  await page.evaluate(watchPhase, TELL)
  return {
    gone,
    async stop() {
      // Leaving the page says goodbye to the relay.
      await page.close({ runBeforeUnload: false }).catch(() => {})
      await browser.close()
    },
  }
}
