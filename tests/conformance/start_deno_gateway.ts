import { expect } from 'vitest'
import { startProcess, temporaryFolder } from '../fixtures/process.ts'
import type { StartGateway } from './gateway_suite.ts'

/** The gateway on Deno, in a process of its own, on a free port that it prints. */
export const startOnDeno: StartGateway = async (keys) => {
  const folder = await temporaryFolder()
  const args = [...denoArguments(folder.path), '--port', '0']
  const running = startProcess(await denoPath(), args, {
    env: keys.length > 0 ? { SHOAL_KEYS: JSON.stringify(keys) } : {},
  })
  const [, url = ''] = await running.wrote(/^shoal ready (http:\S+)$/m)
  return {
    url,
    async close() {
      const { code, stderr } = await running.stop()
      await folder[Symbol.asyncDispose]()
      // Refused workers are logged as warnings; an error or a stack would be a bug.
      expect([code, stderr.split('\n').filter((line) => line && !line.includes('"level":"warn"'))]).toEqual([0, []])
    },
  }
}

/** Deno itself: what npm puts on PATH is a script that starts it and hands no signals on. */
export async function denoPath(): Promise<string> {
  const { stdout } = await startProcess('deno', ['eval', '--print', 'Deno.execPath()']).ended
  return stdout.trim()
}

export function denoArguments(dataDir: string): string[] {
  return ['run', '-A', '--no-lock', 'functions/gateway/deno.ts', '--data-dir', dataDir]
}
