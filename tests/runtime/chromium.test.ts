import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { expect, it } from 'vitest'
import { launchChromium as launchWorker } from '../../functions/worker/chromium_worker.ts'
import { findChromium } from '../../functions/worker/find_chromium.ts'
import { launchChromium } from './chromium.ts'
import type { RemoteReport } from './remote_entry.ts'
import { bundleSuites, remoteSuites } from './remote.ts'

remoteSuites('chromium', /Chrome/, async () => {
  await using page = await servePage(await bundleSuites(['browser']))
  const browser = await launchChromium()
  try {
    const tab = await browser.newPage()
    await tab.goto(page.url)
    return await tab.evaluate<RemoteReport>(
      "import('/suites.js').then((suites) => suites.default.fetch()).then((response) => response.json())",
    )
  } finally {
    await browser.close()
  }
})

/** Served from loopback, not from a data URL: crypto.subtle needs a secure origin. */
async function servePage(script: string): Promise<AsyncDisposable & { url: string }> {
  const server = createServer((request, response) => {
    const isScript = request.url === '/suites.js'
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html')
    response.end(isScript ? script : '<!doctype html><title>suites</title>')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

it('a headless worker has a GPU and Web Crypto at its gateway over plain HTTP, and at no other', async () => {
  const gateway = 'http://gateway.test:8787'
  const browser = await launchWorker(findChromium(), `${gateway}/`)
  try {
    const page = await browser.newPage()
    await page.route('**/*', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }))
    for (const [url, isSecure] of [[gateway, true], ['http://other.test:8787', false]] as const) {
      await page.goto(`${url}/join`)
      const found = await page.evaluate(() => [isSecureContext, 'gpu' in navigator, 'subtle' in crypto])
      expect([url, ...found]).toEqual([url, isSecure, isSecure, isSecure])
    }
  } finally {
    await browser.close()
  }
})
