import './require_node.ts'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runChecks } from './check.ts'
import { installPackages } from './install_packages.ts'
import { SHARED_DATA, sum, type Tally, tallyJunit, tallyVitest } from './tally.ts'
import { CHROMIUM_NAMES, findOnPath, ROOT, run } from './tools.ts'

/** What Node compiled and stripped of types it keeps for the next of the hundreds of processes that tests start. */
process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'node-compile-cache')

/**
 * `npm test`: the checks, the vitest suites and the Deno suites, then `N passed, N failed` on the last line.
 * `npm test -- PATTERN` narrows vitest to the files whose path holds PATTERN; the rest runs as ever.
 */
async function main(filters: readonly string[]): Promise<number> {
  const missing = await installTools()
  if (missing) {
    console.error(missing)
    return 1
  }
  // Without them their tests are skipped, which counts as failed in CI.
  const absent = await installPackages(join(ROOT, 'tests/optional'))
  if (absent) console.log(absent)
  const folder = mkdtempSync(join(tmpdir(), 'shoal-test-'))
  try {
    const checks = await runChecks()
    // Beside each other: what vitest's processes leave of the machine is enough for Deno's one.
    const [vitest, deno] = await Promise.all([runVitest(folder, filters), runDeno(folder)])
    console.log(deno.summary)
    const total = sum([checks, vitest, deno], { ci: isCi(), hasSharedData: existsSync(join(ROOT, SHARED_DATA)) })
    for (const name of total.skipped) console.log(`skipped: ${name}`)
    console.log(`${total.passed} passed, ${total.failed} failed`)
    return total.failed > 0 ? 1 : 0
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function isCi(): boolean {
  return !['', '0', 'false', undefined].includes(process.env.CI)
}

/** Programs that tests start for real, by Debian's name of the package that brings them. */
const TOOLS: readonly { names: readonly string[]; aptPackage: string }[] = [
  { names: ['redis-server'], aptPackage: 'redis-server' },
  { names: CHROMIUM_NAMES, aptPackage: 'chromium' },
]

function missingPackages(): string[] {
  return TOOLS.filter(({ names }) => !findOnPath(names)).map(({ aptPackage }) => aptPackage)
}

/** Installs what is missing where that is possible. @returns what the reader has to do otherwise */
async function installTools(): Promise<string | undefined> {
  const packages = missingPackages()
  if (packages.length > 0 && process.getuid?.() === 0 && findOnPath(['apt-get'])) {
    console.log(`installing ${packages.join(' ')}`)
    const env = { DEBIAN_FRONTEND: 'noninteractive' }
    const update = await run('apt-get', ['update', '-q'], 'capture', env)
    const install = await run('apt-get', ['install', '-qy', '--no-install-recommends', ...packages], 'capture', env)
    if (install.code !== 0) console.error(`${update.output}${install.output}`.trimEnd())
  }
  const missing = missingPackages()
  if (missing.length === 0) return undefined
  return `Cannot run the tests: ${missing.join(' and ')} must be installed and on PATH (Debian: apt-get install ${
    missing.join(' ')
  })`
}

async function runVitest(folder: string, filters: readonly string[]): Promise<Tally> {
  const path = join(folder, 'vitest.json')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${path}`]
  const { code } = await run('vitest', ['run', ...reporters, ...filters], 'show')
  return tallyVitest(existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined, code)
}

/** @returns with it, what Deno said: a line if all is well */
async function runDeno(folder: string): Promise<Tally & { summary: string }> {
  const tests = 'tests/runtime/deno'
  const hasTests = readdirSync(join(ROOT, tests), { recursive: true, encoding: 'utf8' }).some((name) =>
    /[._]test\.ts$/.test(name)
  )
  if (!hasTests) return { passed: 0, failed: 0, skipped: [], summary: 'deno: no tests' }
  const path = join(folder, 'deno.xml')
  const { code, output } = await run('deno', ['test', '-A', '--no-lock', `--junit-path=${path}`, tests], 'capture')
  // Deno has no reporter between a line per test and none at all.
  const summary = code === 0 ? `deno: ${output.trim().split('\n').at(-1)}` : output.trimEnd()
  return { ...tallyJunit(existsSync(path) ? readFileSync(path, 'utf8') : undefined, code), summary }
}

process.exitCode = await main(process.argv.slice(2))
