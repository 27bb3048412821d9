import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../../shared/base/limits.ts'
import { systemClock } from '../../../shared/base/clock.ts'
import { createKey } from '../../../shared/stores/keys.ts'
import { headline, openGateway, openPage, text, withBrowser, workersOf } from './web_pages.ts'

withBrowser()

describe('join page', () => {
  it('serves on WebGPU when told to, is listed, and leaves', { timeout: 120_000 }, async () => {
    const gateway = await openGateway()
    const page = await openPage(`${gateway}/join?device=webgpu`)
    await headline(page, 'Serving')
    const [worker, ...others] = await workersOf(gateway)
    expect(others).toEqual([])
    // The limits of the device that this very browser gives.
    const maxBufferSize = await page.evaluate(async () => (await navigator.gpu.requestAdapter())?.limits.maxBufferSize)
    expect(worker).toMatchObject({
      limits: { maxTensorBytes: maxBufferSize, maxFileBytes: LIMITS.maxWasmFileBytes },
      name: await text(page, '#name'),
      device: 'webgpu',
      fallbackAdapter: true,
      draining: false,
    })
    expect(await text(page, '#device')).toBe('WebGPU')
    expect(await text(page, '#reason')).toMatch(/WebGPU was asked for/)
    expect(await page.locator('#software-note').isVisible()).toBe(true)

    await page.close()
    await expect.poll(() => workersOf(gateway)).toEqual([])
  })

  it('stops when told to, and serves again', async () => {
    const gateway = await openGateway()
    const page = await openPage(`${gateway}/join?device=wasm`)
    await headline(page, 'Serving')
    await page.click('#toggle')
    await headline(page, 'Not serving')
    await expect.poll(() => workersOf(gateway)).toEqual([])
    await page.click('#toggle')
    await headline(page, 'Serving')
    expect(await workersOf(gateway)).toHaveLength(1)
  })

  it('chooses WASM by itself where the adapter is a software one', async () => {
    const page = await openPage(`${await openGateway()}/join`)
    await headline(page, 'Serving')
    expect(await text(page, '#device')).toBe('WASM')
    expect(await text(page, '#reason')).toMatch(/software/)
  })

  it('lends as much memory as its address says', async () => {
    const gateway = await openGateway()
    const page = await openPage(`${gateway}/join?device=wasm&memory=${2 ** 30}`)
    await headline(page, 'Serving')
    expect((await workersOf(gateway))[0]).toMatchObject({ limits: { maxModelBytes: 2 ** 29 } })
    const wrong = await openPage(`${gateway}/join?memory=much`)
    await headline(wrong, 'This tab cannot serve')
    expect(await text(wrong, '#detail')).toMatch(/number of bytes, not "much"/)
  })

  it('says what is wrong with its address', async () => {
    const page = await openPage(`${await openGateway()}/join?device=quantum`)
    await headline(page, 'This tab cannot serve')
    expect(await text(page, '#detail')).toMatch(/quantum/)
  })

  it('takes its key from the fragment, or asks for one, and shows it nowhere', async () => {
    const worker = await createKey(['worker'], systemClock)
    const admin = await createKey(['admin'], systemClock)
    const gateway = await openGateway([worker.record, admin.record], admin.text)
    const given = await openPage(`${gateway}/join?device=wasm#key=${worker.text}&name=with-key`)
    await headline(given, 'Serving')
    expect(given.url()).toBe(`${gateway}/join?device=wasm`)
    const asked = await openPage(`${gateway}/join?device=wasm`)
    await headline(asked, 'A key is needed')
    await asked.fill('#key-input', worker.text)
    await asked.keyboard.press('Enter')
    await headline(asked, 'Serving')
    for (const page of [given, asked]) expect(await page.content()).not.toContain(worker.text)
    const names = (await workersOf(gateway, admin.text)).map(({ name }) => name)
    expect(names).toEqual(['with-key', await text(asked, '#name')])
  })
})

describe('cache of models', () => {
  it('gives back what was put, and drops the oldest beyond its limit', async () => {
    const page = await openPage(await openGateway())
    const { outputFiles: [script] } = await build({
      entryPoints: [fileURLToPath(new URL('../../../shared/worker/cache_storage.ts', import.meta.url))],
      bundle: true,
      write: false,
      format: 'iife',
      globalName: 'subject',
    })
    const run = async (body: string) => await page.evaluate<unknown>(`(async () => { ${script?.text} ${body} })()`)
    const found = await run(`
      const cache = subject.cacheStorageModels(caches)
      for (let i = 0; i < ${LIMITS.maxStoredModels + 2}; i++) await cache.put('model-' + i, Uint8Array.of(i, 7))
      const read = async (i) => [...await cache.get('model-' + i) ?? []]
      return Promise.all([0, 1, 2, ${LIMITS.maxStoredModels + 1}].map(read))
    `)
    expect(found).toEqual([[], [], [2, 7], [LIMITS.maxStoredModels + 1, 7]])
  })
})
