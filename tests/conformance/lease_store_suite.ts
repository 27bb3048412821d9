import type { Suite } from '../suite.ts'
import type { LeaseCases, LeaseHarness } from './lease_harness.ts'
import { inputCases, loadCases } from './lease_input_cases.ts'
import { expiryCases, incarnationCases, lossCases } from './lease_life_cases.ts'
import { revisionCases, tableCases } from './lease_table_cases.ts'

/** What every LeaseStore must do. */
export function leaseStoreSuite(name: string, open: () => Promise<LeaseHarness>): Suite {
  const using = (run: (harness: LeaseHarness) => Promise<void>) => async () => {
    const harness = await open()
    try {
      await run(harness)
    } finally {
      await harness.close()
    }
  }
  const cases: LeaseCases = {
    ...tableCases,
    ...revisionCases,
    ...expiryCases,
    ...incarnationCases,
    ...lossCases,
    ...inputCases,
    ...loadCases,
  }
  return {
    name: `leases: ${name}`,
    cases: Object.fromEntries(Object.entries(cases).map(([title, run]) => [title, using(run)])),
  }
}
