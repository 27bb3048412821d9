#!/usr/bin/env node
// Shoal's code is TypeScript that Node 24 runs as it is. On an older Node, the one installed beside it takes over.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))
if (Number(process.versions.node.split('.')[0]) >= 24) {
  await import('./main.ts')
} else {
  const node = join(fileURLToPath(new URL('../../', import.meta.url)), 'node_modules/.bin/node')
  if (!existsSync(node)) {
    console.error(`shoal: Cannot start: Node 24 or newer is required, got ${process.version} (run npm ci)`)
    process.exit(1)
  }
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? (signal ? 1 : 0)))
}
