import './require_node.ts'
import { run } from './tools.ts'
import type { Tally } from './tally.ts'

const CHECKS: readonly { name: string; command: string; args: readonly string[] }[] = [
  { name: 'format', command: 'deno', args: ['fmt', '--check'] },
  { name: 'lint', command: 'deno', args: ['lint'] },
  { name: 'types', command: 'tsc', args: ['-p', '.'] },
  {
    name: 'deno',
    command: 'deno',
    args: ['check', 'shared/mod.ts', 'functions/gateway/deno.ts', 'functions/hello/deno.ts'],
  },
  { name: 'imports', command: process.execPath, args: ['infra/check_imports.ts'] },
]

/** Runs every check beside the others, prints a line for each, and the output of those that fail. */
export async function runChecks(): Promise<Tally> {
  const results = await Promise.all(CHECKS.map(async (check) => {
    const startMs = performance.now()
    const { code, output } = await run(check.command, check.args, 'capture')
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1)
    return {
      line: `${code === 0 ? 'ok    ' : 'FAILED'} ${check.name.padEnd(8)} ${seconds} s`,
      passed: code === 0,
      output,
    }
  }))
  for (const { line, passed, output } of results) {
    console.log(line)
    if (!passed) console.log(output.trimEnd())
  }
  const passed = results.filter((result) => result.passed).length
  return { passed, failed: results.length - passed, skipped: [] }
}

if (import.meta.main) {
  const { failed } = await runChecks()
  process.exitCode = failed > 0 ? 1 : 0
}
