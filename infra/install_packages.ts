import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { run } from './tools.ts'

/**
 * Installs the packages of a folder's own lock file, without their install scripts, unless they are there.
 * @returns why they are not there, or undefined if they are
 */
export async function installPackages(folder: string): Promise<string | undefined> {
  const [lock, installed] = ['package-lock.json', 'node_modules/.package-lock.json'].map((name) => join(folder, name))
  if (lock && installed && existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) {
    return undefined
  }
  console.log(`installing the packages of ${folder}`)
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const args = ['ci', '--prefix', folder, ...quiet, '--fetch-retries=1', '--fetch-retry-mintimeout=1000']
  const { code, output } = await run('npm', args, 'capture')
  return code === 0 ? undefined : `npm ci in ${folder} failed: ${output.trim().split('\n').at(0)}`
}
