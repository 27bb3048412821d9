import process from 'node:process'
import { vi } from 'vitest'
import { lineOf, runCommandLine } from '../../../functions/cli/commands.ts'

/**
 * Runs a command to its end without a process of its own, which would take half a second to start. Commands that end
 * the process or wait for a signal need one.
 * @returns what it wrote, and the line that its process would end with, or ''
 */
export async function runHere(args: readonly string[]): Promise<{ stdout: string; line: string }> {
  let stdout = ''
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    stdout += text
    return true
  })
  try {
    const line = await runCommandLine(args).then(() => '', (thrown) => lineOf(thrown, args))
    return { stdout, line }
  } finally {
    write.mockRestore()
  }
}
