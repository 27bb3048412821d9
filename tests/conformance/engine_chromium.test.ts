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
import type { CaseResult } from '../suite.ts'
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

const HOSTS = [
  { name: 'Chromium, WebGPU, jspi', start: { wish: 'webgpu' } },
  { name: 'Chromium, WebGPU, asyncify', start: { wish: 'webgpu', build: 'asyncify' } },
  { name: 'Chromium, WASM, jspi', start: { wish: 'wasm' } },
  { name: 'Chromium, WASM, plain', start: { wish: 'wasm', build: 'wasm' } },
]
for (const { name, start } of HOSTS) {
  describe(name, () => {
    let results: CaseResult[]
    beforeAll(async () => {
      results = await inPage('conformance', name, start)
    }, 120_000)
    // Opens no engine: only the names are read here.
    for (const title of Object.keys(engineSuite(name, () => Promise.reject(new Error('not here'))).cases)) {
      it(title, () => {
        const result = results.find((one) => one.name === title)
        expect(result, 'the page must have run the case').toBeDefined()
        expect(result?.error).toBeUndefined()
      })
    }
  })
}

describe('Chromium', () => {
  it('serves on WASM where the only adapter is a software one', async () => {
    const info = await inPage('info', { wish: 'auto' })
    expect(info).toMatchObject({ device: 'wasm', build: 'jspi', reason: expect.stringMatching(/renders in software/) })
  })

  it('takes the software adapter when told to', async () => {
    const info = await inPage('info', { wish: 'webgpu' })
    expect(info).toMatchObject({ device: 'webgpu', build: 'jspi', fallbackAdapter: true })
  })

  it('computes on WebGPU what it computes on WASM', async () => {
    expect(await inPage('difference')).toBeLessThanOrEqual(1e-5)
  })

  it('never serves a convolution that WebGPU gets wrong without an error', async () => {
    const { trusted, trustedError, guarded, guardedError } = await inPage<{
      trusted: object
      trustedError: number
      guarded: object
      guardedError: number
    }>('wrongConvolution')
    // By itself the runtime says that all is well: were it so one day, the guard would have nothing to do.
    expect(trusted).toEqual({ placement: 'full' })
    expect(trustedError).toBeGreaterThan(0.1)
    expect(guarded).toEqual({
      placement: 'refused',
      warning: expect.stringMatching(/^it runs on WASM, because .+ does not compute it right: output "y" must be /),
    })
    expect(guardedError).toBeLessThan(1e-5)
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
