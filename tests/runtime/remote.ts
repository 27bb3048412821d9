import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { bundleModule } from './bundle_module.ts'
import type { RemoteReport } from './remote_entry.ts'
import { suites } from './suites.ts'

/** The suites and all they import as one ES module that needs nothing of Node. */
export async function bundleSuites(conditions: string[]): Promise<string> {
  return await bundleModule(fileURLToPath(new URL('./remote_entry.ts', import.meta.url)), conditions)
}

/** Runs all suites in another runtime at once and reports each case as a vitest test of its own. */
export function remoteSuites(runtime: string, userAgent: RegExp, run: () => Promise<RemoteReport>): void {
  describe(runtime, () => {
    let report: RemoteReport
    beforeAll(async () => {
      report = await run()
    }, 180_000)

    it('is the real runtime', () => expect(report.userAgent).toMatch(userAgent))

    for (const suite of suites) {
      describe(suite.name, () => {
        for (const name of Object.keys(suite.cases)) {
          it(name, () => {
            const result = report.results.find((result) => result.suite === suite.name && result.name === name)
            if (!result) throw new Error(`Cannot report "${name}": ${runtime} must run every case, got no result`)
            if (result.error !== undefined) throw new Error(`in ${runtime}: ${result.error}`)
          })
        }
      })
    }
  })
}
