import { beforeAll, describe, expect, it } from 'vitest'
import type { CaseResult, Suite } from '../suite.ts'

export interface RemoteReport {
  userAgent: string
  results: CaseResult[]
}

/** Runs a suite under vitest. */
export function register(suite: Suite): void {
  describe(suite.name, () => {
    for (const [name, run] of Object.entries(suite.cases)) it(name, run)
  })
}

/** Reports suites that run in another runtime, all at once, case by case. @param runtime what its user agent starts with */
export function registerRemote(runtime: string, suites: readonly Suite[], run: () => Promise<RemoteReport>): void {
  describe(runtime, () => {
    let report: RemoteReport
    beforeAll(async () => {
      report = await run()
    })

    it('is the real runtime', () => expect(report.userAgent.startsWith(runtime)).toBe(true))

    for (const suite of suites) {
      describe(suite.name, () => {
        for (const name of Object.keys(suite.cases)) {
          it(name, () => {
            const result = report.results.find((one) => one.suite === suite.name && one.name === name)
            expect(result, 'every case must have run').toBeDefined()
            expect(result?.error).toBeUndefined()
          })
        }
      })
    }
  })
}

/** For suites that are only named here and run elsewhere. */
export function never(): never {
  throw new Error('Cannot run this suite here')
}
