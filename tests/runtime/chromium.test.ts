import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
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
