import { join } from 'node:path'
import { writeFile } from 'node:fs/promises'
import { PAGE_HEADERS } from '../functions/gateway/routes/pages.ts'
import { buildWeb } from './build_web.ts'
import { ROOT } from './tools.ts'

/**
 * Builds what wrangler uploads beside the Worker: the pages and their assets, with the headers that Cloudflare gives to
 * files it serves without asking the Worker. Run by wrangler itself ([build] in wrangler.toml).
 */
export async function buildWorkerAssets(): Promise<void> {
  await buildWeb()
  const lines = Object.entries(PAGE_HEADERS).map(([name, value]) => `  ${name}: ${value}\n`)
  await writeFile(join(ROOT, 'dist/_headers'), `/assets/*\n${lines.join('')}`)
  // Drafts of files being built.
  await writeFile(join(ROOT, 'dist/.assetsignore'), '.*\n')
}

if (import.meta.main) await buildWorkerAssets()
