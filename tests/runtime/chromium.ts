import { type Browser, chromium } from 'playwright-core'
import { CHROMIUM_FLAGS } from '../../functions/worker/chromium_worker.ts'
import { findChromium } from '../../functions/worker/find_chromium.ts'

/** The machine's own Chromium, headless, with a fresh profile and a software GPU where there is no other. The caller closes it. */
export async function launchChromium(): Promise<Browser> {
  return await chromium.launch({ executablePath: findChromium(), args: CHROMIUM_FLAGS })
}
