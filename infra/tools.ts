import { spawn } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export { CHROMIUM_NAMES, findOnPath } from '../functions/worker/find_chromium.ts'

/** The repository's root, without a trailing slash. */
export const ROOT = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '')

export interface RunResult {
  /** The exit code, 1 if a signal ended the program or it could not start. */
  code: number
  /** Stdout and stderr as they came; empty unless captured. */
  output: string
}

/**
 * Runs a program in the repository's root with the project's own tools first on PATH, and no stdin.
 * @param stdio 'capture' collects the output, 'show' passes it on
 */
export function run(
  command: string,
  args: readonly string[],
  stdio: 'capture' | 'show',
  env: Readonly<Record<string, string>> = {},
): Promise<RunResult> {
  const bin = join(ROOT, 'node_modules', '.bin')
  const pipe = stdio === 'capture' ? 'pipe' : 'inherit'
  const child = spawn(command, args, {
    cwd: ROOT,
    stdio: ['ignore', pipe, pipe],
    env: {
      ...process.env,
      PATH: `${bin}${delimiter}${process.env.PATH ?? ''}`,
      DENO_NO_UPDATE_CHECK: '1',
      ...env,
    },
  })
  return new Promise((resolve) => {
    const chunks: Uint8Array[] = []
    child.stdout?.on('data', (chunk) => chunks.push(chunk))
    child.stderr?.on('data', (chunk) => chunks.push(chunk))
    child.on('error', (error) => resolve({ code: 1, output: `Cannot start ${command}: ${error.message}` }))
    child.on('close', (code) => resolve({ code: code ?? 1, output: Buffer.concat(chunks).toString() }))
  })
}
