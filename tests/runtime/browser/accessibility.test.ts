import type { Page } from 'playwright-core'
import { describe, expect, it } from 'vitest'
import { headline, openGateway, openPage, withBrowser } from './web_pages.ts'

withBrowser()

/** WCAG 2.2, 1.4.3: of text against what is behind it. */
const LEAST_CONTRAST = 4.5

describe.each([
  { path: '/', ready: (page: Page) => page.locator('main[data-known=now] #models tr').first().waitFor() },
  { path: '/join', ready: (page: Page) => headline(page, 'Serving') },
])('the page $path', ({ path, ready }) => {
  it('can be read in light and dark, on a desk, a phone and a watch, and with large text', async () => {
    const page = await openPage(`${await openGateway()}${path}`)
    await ready(page)
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      for (const width of [1440, 390, 320]) {
        await page.setViewportSize({ width, height: 844 })
        expect([colorScheme, width, await tooFaint(page, LEAST_CONTRAST)]).toEqual([colorScheme, width, []])
        expect([width, await page.evaluate(() => document.documentElement.scrollWidth)]).toEqual([width, width])
      }
    }
    // What a reader sets whose eyes are weak.
    await page.evaluate(() => document.documentElement.style.fontSize = '200%')
    expect(await page.evaluate(() => parseFloat(getComputedStyle(document.body).fontSize))).toBe(30)
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(320)
  }, 120_000)

  it('is reached by Tab, each place with an outline and a name of its own', async () => {
    const page = await openPage(`${await openGateway()}${path}`)
    await ready(page)
    const names: string[] = []
    for (;;) {
      await page.keyboard.press('Tab')
      const focused = page.locator(':focus')
      if (await focused.count() === 0) break
      names.push((await focused.ariaSnapshot()).split('\n')[0] ?? '')
      const outline = await focused.evaluate((element) => {
        // A choice is drawn by the word beside it.
        const drawn = element.matches('.choices input') ? element.nextElementSibling ?? element : element
        const { outlineStyle, outlineWidth } = getComputedStyle(drawn)
        return outlineStyle === 'none' ? 0 : parseFloat(outlineWidth)
      })
      expect([names.at(-1), outline]).toEqual([names.at(-1), 2])
      expect(names.length).toBeLessThan(60)
    }
    expect(names.length).toBeGreaterThan(2)
    expect(new Set(names).size).toBe(names.length)
    // "- button" alone would have no name.
    for (const name of names) expect(name).toMatch(/^- (\w+ ".+"|text: .+)/)
  }, 120_000)

  it('has a head for each column', async () => {
    const page = await openPage(`${await openGateway()}${path}`)
    await ready(page)
    const heads = await page.locator('th[scope=col]').allTextContents()
    expect(heads.filter((text) => text.trim() === '')).toEqual([])
  })
})

it('settings of a model open and close by keyboard, one at a time', async () => {
  const gateway = await openGateway()
  const { ok } = await fetch(`${gateway}/models/again/versions/1`, {
    method: 'PUT',
    body: await (await fetch(`${gateway}/blobs/${await demoHash(gateway)}`)).arrayBuffer(),
  })
  expect(ok).toBe(true)
  const page = await openPage(gateway)
  const [first, second] = ['again', 'cartoon'].map((name) =>
    page.locator('summary', { hasText: `Settings of ${name}` })
  )
  if (!first || !second) throw new Error('two models are needed')
  const open = () => page.locator('details[open]').count()
  await second.waitFor()
  await first.focus()
  await page.keyboard.press('Enter')
  expect(await open()).toBe(1)
  await page.keyboard.press('Tab')
  expect(await page.locator(':focus').getAttribute('type')).toBe('checkbox')
  await page.keyboard.press('Escape')
  expect([await open(), await first.evaluate((element) => element === document.activeElement)]).toEqual([0, true])
  await first.press('Enter')
  await second.press('Enter')
  expect(await open()).toBe(1)
})

async function demoHash(gateway: string): Promise<string> {
  const { models } = await (await fetch(`${gateway}/models`)).json() as { models: { sha256: string }[] }
  return models[0]?.sha256 ?? ''
}

/** Texts in sight whose contrast is below `least`, with what it is. */
function tooFaint(page: Page, least: number): Promise<string[]> {
  return page.evaluate((least) => {
    const pen = Object.assign(document.createElement('canvas'), { width: 1, height: 1 })
      .getContext('2d', { willReadFrequently: true })
    if (!pen) throw new Error('a canvas is needed')
    // Any colour that style sheets know, as what a screen shows of it.
    const over = (colour: string, below: string): string => {
      pen.fillStyle = below
      pen.fillRect(0, 0, 1, 1)
      pen.fillStyle = colour
      pen.fillRect(0, 0, 1, 1)
      const [r = 0, g = 0, b = 0] = pen.getImageData(0, 0, 1, 1).data
      return `rgb(${r}, ${g}, ${b})`
    }
    const behind = (element: Element | null): string =>
      element === null
        ? 'Canvas'
        : over(getComputedStyle(element).backgroundColor, over(behind(element.parentElement), 'Canvas'))
    const luminance = (colour: string): number => {
      const [r = 0, g = 0, b = 0] = (colour.match(/\d+/g) ?? []).map((text) => {
        const part = Number(text) / 255
        return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
      })
      return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const faint: string[] = []
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
      const element = text.parentElement
      const words = text.textContent?.trim()
      // WCAG leaves out what cannot be used now.
      if (!element?.checkVisibility() || !words || element.matches(':disabled, script, style')) continue
      const ground = behind(element)
      const [light = 0, dark = 0] = [luminance(over(getComputedStyle(element).color, ground)), luminance(ground)]
        .sort((a, b) => b - a)
      const contrast = (light + 0.05) / (dark + 0.05)
      if (contrast < least) faint.push(`${words.slice(0, 40)}: ${contrast.toFixed(2)}`)
    }
    return faint
  }, least)
}
