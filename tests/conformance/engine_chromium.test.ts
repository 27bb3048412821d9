import { build } from 'esbuild'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { launchChromium } from '../../functions/worker/chromium_worker.ts'
import { findChromium } from '../../functions/worker/find_chromium.ts'
import { buildWeb } from '../../infra/build_web.ts'
import type { Seen } from './engine_chromium_page.ts'
import { engineSuite } from './engine_suite.ts'

let server: Server
let browser: Browser
let page: Page

beforeAll(async () => {
  await buildWeb()
  server = await serve(await bundle())
  browser = await launchChromium(findChromium())
  page = await browser.newPage()
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
})

afterAll(async () => {
  await browser?.close()
  server?.closeAllConnections()
  server?.close()
})

/** Calls a function that engine_chromium_page.ts exports. */
function inPage<T>(name: string, ...args: unknown[]): Promise<T> {
  return page.evaluate(`import('/engine_chromium_page.js').then((page) => page.${name}(...${JSON.stringify(args)}))`)
}

const HOSTS = {
  'Chromium, WebGPU, jspi': { wish: 'webgpu' },
  'Chromium, WebGPU, asyncify': { wish: 'webgpu', build: 'asyncify' },
  'Chromium, WASM, jspi': { wish: 'wasm' },
  'Chromium, WASM, plain': { wish: 'wasm', build: 'wasm' },
} as const
type Host = keyof typeof HOSTS

/** Each is asked once, by the first test that wants to know. */
const asked = new Map<Host, Promise<Seen>>()
function see(host: Host): Promise<Seen> {
  const seen = asked.get(host) ?? inPage<Seen>('conformance', host, HOSTS[host])
  asked.set(host, seen)
  return seen
}

/** The software adapter compiles at length, where it has a processor at all. */
const PATIENCE_MS = 180_000

for (const host of Object.keys(HOSTS) as Host[]) {
  describe(host, () => {
    let seen: Seen
    beforeAll(async () => {
      seen = await see(host)
    }, PATIENCE_MS)
    // Opens no engine: only the names are read here.
    for (const title of Object.keys(engineSuite(host, () => Promise.reject(new Error('not here'))).cases)) {
      it(title, () => {
        const result = seen.results.find((one) => one.name === title)
        expect(result, 'the page must have run the case').toBeDefined()
        expect(result?.error).toBeUndefined()
      })
    }
  })
}

describe('Chromium', { timeout: PATIENCE_MS }, () => {
  it('serves on WASM where the only adapter is a software one', async () => {
    const info = await inPage('info', { wish: 'auto' })
    expect(info).toMatchObject({ device: 'wasm', build: 'jspi', reason: expect.stringMatching(/renders in software/) })
  })

  it('takes the software adapter when told to', async () => {
    const { info } = await see('Chromium, WebGPU, jspi')
    expect(info).toMatchObject({ device: 'webgpu', build: 'jspi', fallbackAdapter: true })
  })

  it('computes on WebGPU what it computes on WASM', async () => {
    const [webgpu, wasm] = [await see('Chromium, WebGPU, jspi'), await see('Chromium, WASM, jspi')]
    expect([webgpu.info.device, wasm.info.device]).toEqual(['webgpu', 'wasm'])
    expect(webgpu.outputs).toHaveLength(wasm.outputs.length)
    const differences = webgpu.outputs.map((value, i) => Math.abs(value - (wasm.outputs[i] ?? NaN)))
    expect(Math.max(...differences)).toBeLessThanOrEqual(1e-5)
  })

  it('never serves a convolution that WebGPU gets wrong without an error', async () => {
    const { convolution } = await see('Chromium, WebGPU, jspi')
    // By itself the runtime says that all is well: were it so one day, the guard would have nothing to do.
    expect(convolution?.trusted).toEqual({ placement: 'full' })
    expect(convolution?.trustedError).toBeGreaterThan(0.1)
    expect(convolution?.guarded).toEqual({
      placement: 'refused',
      warning: expect.stringMatching(/^it runs on WASM, because .+ does not compute it right: output "y" must be /),
    })
    expect(convolution?.guardedError).toBeLessThan(1e-5)
  })

  const recovered = { lost: 'unavailable', restarted: 'not_found', device: 'webgpu', values: [1, 2] }

  it('recovers from a lost device with a fresh Worker', async () => {
    expect(await inPage('destroyDevice')).toEqual(recovered)
  })

  it('recovers from a crash of the GPU process with a fresh Worker', async () => {
    const session = await browser.newBrowserCDPSession()
    await page.exposeFunction('crashGpuProcess', async () => void await session.send('Browser.crashGpuProcess'))
    expect(await inPage('crashGpu')).toEqual(recovered)
  })
})

/** The page's script and the worker with the hook, by URL. */
async function bundle(): Promise<Map<string, string>> {
  const { outputFiles } = await build({
    entryPoints: ['engine_chromium_page.ts', 'fragile_engine_worker.ts'].map((name) =>
      fileURLToPath(new URL(name, import.meta.url))
    ),
    outdir: '/',
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    target: 'esnext',
  })
  const texts = outputFiles.map(({ path, text }) => [path, text] as const)
  return new Map(texts.map(([path, text]) => [path.startsWith('/fragile') ? `/assets${path}` : path, text]))
}

const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
  '.gz': 'application/gzip',
}

/** As strict as the gateway is with its pages: isolated, and no script but WebAssembly made at run time. */
const HEADERS = {
  'content-security-policy': "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; " +
    "connect-src 'self'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
}

async function serve(scripts: ReadonlyMap<string, string>): Promise<Server> {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    const script = scripts.get(pathname)
    response.setHeaders(new Map(Object.entries(HEADERS)))
    response.setHeader('content-type', TYPES[extname(pathname)] ?? 'text/html')
    if (script !== undefined) return response.end(script)
    if (!pathname.startsWith('/assets/')) return response.end('<!doctype html><title>engine</title>')
    const file = await readFile(new URL(`../../dist${pathname}`, import.meta.url)).catch(() => undefined)
    response.statusCode = file ? 200 : 404
    response.end(file)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}
