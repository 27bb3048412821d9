import { type Browser, chromium } from 'playwright-core'
import { CHROMIUM_NAMES, findOnPath } from '../../infra/tools.ts'

/** `--enable-unsafe-webgpu` gives a software adapter where there is no GPU. */
const FLAGS = [
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--enable-unsafe-webgpu',
]

/** The machine's own Chromium, headless, with a fresh profile. The caller closes it. */
export async function launchChromium(): Promise<Browser> {
  const executablePath = findOnPath(CHROMIUM_NAMES)
  if (!executablePath) throw new Error(`Cannot start Chromium: one of ${CHROMIUM_NAMES.join(', ')} must be on PATH`)
  return await chromium.launch({ executablePath, args: FLAGS })
}
