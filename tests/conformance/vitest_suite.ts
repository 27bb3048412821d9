import { describe, it } from 'vitest'
import type { Suite } from '../suite.ts'

/** Runs a suite under vitest. */
export function register(suite: Suite): void {
  describe(suite.name, () => {
    for (const [name, run] of Object.entries(suite.cases)) it(name, run)
  })
}
