import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import process from 'node:process'
import { RpcError } from '../../shared/wire/errors.ts'

/** The names under which distributions install Chromium. */
export const CHROMIUM_NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome']

/**
 * Finds a Chromium to run headless: $CHROMIUM_PATH if it is set, else the first of the usual names on $PATH.
 * @throws RpcError `failed_precondition` saying how to get one if there is none
 */
export function findChromium(): string {
  const named = process.env.CHROMIUM_PATH
  const found = named ? (isExecutable(named) ? named : undefined) : findOnPath(CHROMIUM_NAMES)
  if (found) return found
  throw new RpcError(
    'failed_precondition',
    named
      ? `Cannot start Chromium: CHROMIUM_PATH must name an executable file, got "${named}"`
      : `Cannot start Chromium: one of ${
        CHROMIUM_NAMES.join(', ')
      } must be on PATH, or CHROMIUM_PATH must name it (on Debian: apt-get install chromium)`,
  )
}

/** The path of the first of `names` that is an executable file on PATH. */
export function findOnPath(names: readonly string[], path = process.env.PATH ?? ''): string | undefined {
  for (const name of names) {
    for (const folder of path.split(delimiter)) {
      if (folder !== '' && isExecutable(join(folder, name))) return join(folder, name)
    }
  }
  return undefined
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}
