import { readFile } from 'node:fs/promises'
import type { Page } from 'playwright-core'
import { describe, expect, it } from 'vitest'
import { DEMO_MODEL_NAME, DIGITS_MODEL_NAME, readDigitsModel } from '../../../functions/demo/files.ts'
import { EXAMPLES } from '../../../functions/console/digit_examples.ts'
import { systemClock } from '../../../shared/base/clock.ts'
import { createKey } from '../../../shared/stores/keys.ts'
import { headline, openGateway, openPage, problems, text, withBrowser, workersOf } from './web_pages.ts'

withBrowser()

describe('console', () => {
  it('runs the demo on a worker and shows its answer, who gave it, and the stages', async () => {
    const gateway = await openGateway()
    const tab = await openPage(`${gateway}/join?device=webgpu`)
    await headline(tab, 'Serving')
    const page = await openPage(gateway)
    const workerName = await text(tab, '#name')
    await page.locator('#workers tr', { hasText: workerName }).waitFor()
    expect(await text(page, '#summary')).toBe('1 worker ready for 1 model.')

    await page.click('#run')
    await page.locator('#try-result').waitFor()
    expect(await text(page, '#answered-by')).toBe(workerName)
    expect(await text(page, '#answered-on')).toMatch(/^WebGPU, google swiftshader$/)
    expect(await page.locator('#stages span').count()).toBeGreaterThan(1)
    expect(await page.locator('#legend li').count()).toBe(6)
    expect(await page.locator('#try-error').isVisible()).toBe(false)

    const { probes } = JSON.parse(
      await readFile(new URL('../../../functions/demo/expected.json', import.meta.url), 'utf8'),
    ) as {
      probes: { x: number; y: number; outlines: number; cartoon: number[] }[]
    }
    for (const probe of probes) expect(await errorAt(page, probe, probe.cartoon)).toBeLessThanOrEqual(0.6)
    await page.check('input[value=outlines]', { force: true })
    for (const probe of probes) {
      const { outlines } = probe
      expect(await errorAt(page, probe, [outlines, outlines, outlines])).toBeLessThanOrEqual(0.6)
    }

    expect(await text(tab, '#runs')).toBe('1')
    expect(await tab.evaluate(async () => (await (await caches.open('shoal-models')).keys()).length)).toBe(1)
  })

  it('reads digits as they are drawn, and the examples of whoever cannot draw', async () => {
    const gateway = await openGateway()
    const path = `${gateway}/models/${DIGITS_MODEL_NAME}/versions/1`
    expect((await fetch(path, { method: 'PUT', body: await readDigitsModel() })).status).toBe(200)
    const tab = await openPage(`${gateway}/join?device=wasm`)
    await headline(tab, 'Serving')
    const page = await openPage(gateway)
    await page.locator('#workers tr').waitFor()
    expect(await page.locator('#digit-panes').isVisible()).toBe(false)
    await page.selectOption('#try-model', DIGITS_MODEL_NAME)
    expect(await page.locator('#picture-panes').isVisible()).toBe(false)

    await page.click('#run')
    expect(await text(page, '#try-error')).toMatch(/draw a digit/)
    // Small and in a corner, then large: where a digit stands and how large it is must not matter.
    await drawStroke(page, '#digit-pad', [[20, 10], [17, 40]])
    await expectRead(page, '1')
    expect(await page.locator('#try-error').isVisible()).toBe(false)
    expect(await text(page, '#answered-by')).toBe(await text(tab, '#name'))
    expect(await text(page, '#answered-on')).toMatch(/^WASM, /)
    expect(await page.locator('#stages span').count()).toBeGreaterThan(1)
    await page.click('#clear-digit')
    expect(await text(page, '#digit-read')).toBe('')
    await drawStroke(page, '#digit-pad', [[20, 15], [80, 15], [45, 90]])
    await expectRead(page, '7')

    await page.click('#clear-digit')
    await page.focus('#example-digit')
    for (const { digit } of EXAMPLES) {
      await page.keyboard.press('Enter')
      await expectRead(page, String(digit))
    }
    expect(EXAMPLES.map(({ digit }) => digit).sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    // A stroke over an example begins anew.
    await drawStroke(page, '#digit-pad', [[20, 15], [80, 15], [45, 90]])
    await expectRead(page, '7')

    await page.selectOption('#try-model', DEMO_MODEL_NAME)
    expect(await page.locator('#digit-panes').isVisible()).toBe(false)
    expect(await page.locator('#try-result').isVisible()).toBe(false)
    await page.click('#run')
    await page.locator('#try-result').waitFor()
    // Twelve digits on a software GPU, beside other tests.
  }, 120_000)

  it('draws on a picture where a pen was taken up, and nowhere else', async () => {
    const gateway = await openGateway()
    await headline(await openPage(`${gateway}/join?device=wasm`), 'Serving')
    const page = await openPage(gateway)
    const middle = async () => {
      const side = await page.locator('#input').evaluate((canvas: HTMLCanvasElement) => canvas.width)
      return await pixelOf(page, 'canvas#input', { x: side / 2, y: side / 2 })
    }
    const across = [[20, 50], [80, 50]] as const
    await page.click('#draw')
    await page.click('#clear')
    expect(await middle()).toEqual([255, 255, 255, 255])
    await drawStroke(page, '#input', across)
    expect(await middle()).toEqual([0x14, 0x32, 0x3d, 255])
    await page.click('#clear')
    await page.click('#draw')
    await drawStroke(page, '#input', across)
    expect(await middle()).toEqual([255, 255, 255, 255])
  })

  it('says in words that no worker is there', async () => {
    const page = await openPage(await openGateway())
    await page.locator('#no-workers').waitFor()
    await page.locator('#run:enabled').click()
    await page.locator('#try-error').waitFor()
    expect(await text(page, '#try-error')).toMatch(/no worker is connected/)
    expect(problems.splice(0)).toEqual([expect.stringMatching(/status of 503/)])
  })

  it('follows a job from its queue to its answer, cancels one and retries one, by keyboard', async () => {
    const gateway = await openGateway()
    const page = await openPage(gateway)
    const press = async (selector: string) => {
      await page.locator(`${selector}:enabled`).focus()
      await page.keyboard.press('Enter')
    }
    // Nobody is there to do it: it waits until someone comes, who does it.
    await press('#run-job')
    const job = page.locator('#jobs tr').last()
    await job.locator('.badge', { hasText: 'waiting' }).waitFor()
    expect(await page.locator('#answer-empty').isVisible()).toBe(true)
    const tab = await openPage(`${gateway}/join?device=wasm`)
    await headline(tab, 'Serving')
    await job.locator('.badge', { hasText: 'done' }).waitFor()
    await page.locator('#answer-empty').waitFor({ state: 'hidden' })
    expect(await page.locator('#try-error').isVisible()).toBe(false)

    await tab.close()
    await expect.poll(() => workersOf(gateway)).toEqual([])
    await press('#run-job')
    await page.locator('#jobs tr', { hasText: 'waiting' }).waitFor()
    await press('#jobs tr:first-child button')
    await page.locator('#jobs tr', { hasText: 'canceled' }).waitFor()
    await page.locator('#try-error', { hasText: 'canceled' }).waitFor()

    const options = { maxAttempts: 1 }
    const body = JSON.stringify({ service: 'demo.Nobody', method: 'none', params: {}, options })
    const headers = { 'content-type': 'application/json' }
    const posted = await fetch(`${gateway}/jobs`, { method: 'POST', body, headers })
    const { id } = await posted.json() as { id: string }
    const dead = page.locator('#jobs tr', { hasText: 'demo.Nobody/none' })
    await dead.locator('.badge', { hasText: 'dead' }).waitFor()
    expect(await dead.innerText()).toMatch(/no instance/)
    await press(`button[aria-label="Retry job ${id}"]`)
    const attempts = async () => (await (await fetch(`${gateway}/jobs/${id}`)).json() as { attempts: number }).attempts
    await expect.poll(attempts, { timeout: 30_000 }).toBe(2)
    await dead.locator('.badge', { hasText: 'dead' }).waitFor()
  })

  it('shows a worker that leaves, what calls took, the instances and a training run', async () => {
    const gateway = await openGateway()
    const tab = await openPage(`${gateway}/join?device=wasm`)
    await headline(tab, 'Serving')
    const page = await openPage(gateway)
    const worker = page.locator('#workers tr', { hasText: await text(tab, '#name') })
    await worker.waitFor()
    expect(await worker.locator('small[title^="takes"]').getAttribute('title')).toBe('takes files of 1536 MiB')
    const relay = page.locator('#services tr', { hasText: 'shoal.Pool' })
    await relay.waitFor()
    expect(await relay.innerText()).toMatch(/through its gateway[^]*ago/)
    expect(await page.locator('#training').isVisible()).toBe(false)

    await page.click('#run')
    await page.locator('#try-result').waitFor()
    await page.locator('#calls-ms', { hasText: /^[0-9.]+$/ }).waitFor()
    expect(Number(await text(page, '#calls-rate'))).toBeGreaterThan(0)
    for (const id of ['waiting', 'shed', 'failed']) expect(await text(page, `#calls-${id}`)).toBe('0')
    await worker.locator('td[data-label="Models loaded"]', { hasText: 'cartoon' }).waitFor()
    expect(await worker.innerText()).toMatch(/of [0-9.]+ [MG]iB/)
    expect(Number(await worker.locator('td[data-label="GFLOP/s"]').innerText())).toBeGreaterThan(0)

    const losses = [[1, 2], [2, 1], [3, 0.5]]
    const report = { step: 3, totalSteps: 4, workers: 1, samplesPerSecond: 640, losses, validation: [[2, 1.5]] }
    const body = JSON.stringify({ state: 'running', ...report })
    expect((await fetch(`${gateway}/training/small`, { method: 'PUT', body })).status).toBe(204)
    const run = page.locator('#runs article', { hasText: 'small' })
    await run.waitFor()
    expect(await run.innerText()).toMatch(/step 3 of 4 · loss 0.5\d* · validation 1.5\d* · 640 samples\/s on 1 worker/)
    expect(await run.locator('polyline.line').getAttribute('points')).toBe('250,0 500,500 750,750')

    await tab.close()
    await worker.waitFor({ state: 'detached' })
    await page.locator('#no-workers').waitFor()
    expect(await text(page, '#summary')).toBe('No worker is connected yet.')
  })

  it('switches what is said of a model, where the key may', async () => {
    const [admin, caller] = [await createKey(['admin'], systemClock), await createKey(['call'], systemClock)]
    const gateway = await openGateway([admin.record, caller.record], admin.text)
    const toggle = async (page: Page) => {
      await page.locator('.settings summary').focus()
      await page.keyboard.press('Enter')
      await page.locator('.settings input').first().focus()
      await page.keyboard.press('Space')
    }
    const page = await openPage(`${gateway}/#key=${admin.text}`)
    await page.locator('#models tr').waitFor()
    await toggle(page)
    await page.locator('#models .badge', { hasText: 'public' }).waitFor()
    const response = await fetch(`${gateway}/models`, { headers: { authorization: `Bearer ${admin.text}` } })
    const { models: [model] } = await response.json() as { models: { visibility?: string }[] }
    expect(model?.visibility).toBe('public')

    const other = await openPage(`${gateway}/#key=${caller.text}`)
    await other.locator('#models .badge', { hasText: 'public' }).waitFor()
    await toggle(other)
    await other.locator('.settings .bad', { hasText: 'admin' }).waitFor()
    expect(await other.locator('.settings input').first().isChecked()).toBe(true)
    expect(await other.locator('#key-form').isVisible()).toBe(false)
  })

  it('shows a hostile worker name as the text it is', async () => {
    const gateway = await openGateway()
    const name = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    const tab = await openPage(`${gateway}/join?device=wasm#${new URLSearchParams({ name })}`)
    await headline(tab, 'Serving')
    const page = await openPage(gateway)
    await page.locator('#workers tr').waitFor()
    await page.click('#run')
    await page.locator('#try-result').waitFor()
    for (const selector of ['#workers .name', '#answered-by']) expect(await page.textContent(selector)).toBe(name)
    expect(await tab.textContent('#name')).toBe(name)
    for (const one of [page, tab]) expect(await one.locator('main :is(img, script)').count()).toBe(0)
    expect(await page.title()).toBe('Shoal console')
  })

  it('tells how to begin where there is nothing, and what was last known where nobody answers', async () => {
    const gateway = await openGateway()
    expect((await fetch(`${gateway}/models/${DEMO_MODEL_NAME}`, { method: 'DELETE' })).status).toBe(200)
    const page = await openPage(gateway)
    await page.locator('#no-model').waitFor()
    for (const what of ['workers', 'models', 'jobs', 'services']) {
      expect(await page.locator(`#no-${what}`).isVisible(), what).toBe(true)
      expect(await page.locator(`#${what}-table`).isVisible(), what).toBe(false)
    }
    expect(await page.locator('#run').isDisabled()).toBe(true)
    await page.context().setOffline(true)
    await page.locator('#summary', { hasText: 'out of reach' }).waitFor()
    expect(await page.locator('#no-models').isVisible()).toBe(true)
    await page.context().setOffline(false)
    await page.locator('#status', { hasText: /^live$/ }).waitFor()
    expect(problems.splice(0).filter((problem) => !/ERR_INTERNET_DISCONNECTED/.test(problem))).toEqual([])
  })

  it('asks for a key where the gateway wants one', async () => {
    const admin = await createKey(['admin'], systemClock)
    const page = await openPage(await openGateway([admin.record], admin.text))
    await page.locator('#key-form').waitFor()
    expect(await text(page, '#key-hint')).toMatch(/shoal keys create/)
    expect(await page.locator('.live:visible').count()).toBe(0)
    await page.fill('#key-input', 'shoal_of_another_gateway')
    await page.keyboard.press('Enter')
    await page.locator('#key-reason', { hasText: /^That key was refused: a valid API key is required\.$/ }).waitFor()
    await page.fill('#key-input', admin.text)
    await page.keyboard.press('Enter')
    await page.locator('#models tr', { hasText: DEMO_MODEL_NAME }).waitFor()
    expect(await page.locator('#key-form').isVisible()).toBe(false)
    expect(await page.content()).not.toContain(admin.text)
    // One question, not one for each list, learns that a key is needed; and none is asked while it is not there.
    expect(await refusedRequests(page)).toEqual(['/workers', '/workers'])
    // It is asked for once: the page keeps it as long as its tab lives.
    await page.reload()
    await page.locator('#models tr', { hasText: DEMO_MODEL_NAME }).waitFor()
    expect(await page.locator('#key-form').isVisible()).toBe(false)
    expect(await refusedRequests(page)).toEqual([])
  })
})

/** Paths of what the page has asked of its gateway and was refused. */
async function refusedRequests(page: Page): Promise<string[]> {
  return await page.evaluate(() => {
    const entries = performance.getEntriesByType('resource') as PerformanceResourceTiming[]
    return entries.filter(({ responseStatus }) => responseStatus === 401).map(({ name }) => new URL(name).pathname)
  })
}

/** Draws on a canvas with the mouse, in percent of it. */
async function drawStroke(page: Page, canvas: string, points: readonly (readonly [number, number])[]): Promise<void> {
  const sheet = page.locator(canvas)
  await sheet.scrollIntoViewIfNeeded()
  const box = await sheet.boundingBox()
  if (!box) throw new Error('the sheet must be visible')
  const moves = points.map(([x, y]) => [box.x + x / 100 * box.width, box.y + y / 100 * box.height] as const)
  for (const [i, [x, y]] of moves.entries()) {
    await page.mouse.move(x, y, { steps: 4 })
    if (i === 0) await page.mouse.down()
  }
  await page.mouse.up()
}

/** The page says that it reads this digit, its bar is the longest and all bars together are whole. */
async function expectRead(page: Page, digit: string): Promise<void> {
  await page.locator('#digit-read', { hasText: digit }).waitFor()
  const bars = await page.locator('#digit-bars li').evaluateAll((items) =>
    items.map((item) => [item.className, item.children[0]?.textContent, item.querySelector('i')?.style.width])
  )
  expect(bars.filter(([name]) => name === 'best').map(([, label]) => label)).toEqual([digit])
  const widths = bars.map(([, , width]) => Number.parseFloat(width ?? ''))
  expect(Math.max(...widths)).toBe(widths[Number(digit)])
  expect(widths.reduce((sum, width) => sum + width)).toBeCloseTo(100, 1)
}

/** How far a pixel of the answer is from a colour of 0 to 1, in the canvas's 256 steps: rounding is at most half of one. */
async function errorAt(page: Page, { x, y }: { x: number; y: number }, color: readonly number[]): Promise<number> {
  const shown = await pixelOf(page, 'canvas#answer', { x, y })
  return Math.max(...color.map((value, channel) => Math.abs((shown[channel] ?? NaN) - 255 * value)))
}

/** Red, green, blue and opacity, each up to 255. */
async function pixelOf(page: Page, canvas: string, { x, y }: { x: number; y: number }): Promise<number[]> {
  return await page.evaluate<number[]>(
    `Array.from(document.querySelector('${canvas}').getContext('2d').getImageData(${x}, ${y}, 1, 1).data)`,
  )
}
