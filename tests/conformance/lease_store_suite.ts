import type { Suite } from '../suite.ts'
import type { LeaseCases, LeaseHarness } from './lease_harness.ts'
import { inputCases, loadCases } from './lease_input_cases.ts'
import { expiryCases, incarnationCases, lossCases } from './lease_life_cases.ts'
import { revisionCases, tableCases } from './lease_table_cases.ts'
import { harnessed } from './harnessed.ts'

/** What every LeaseStore must do. */
export function leaseStoreSuite(name: string, open: () => Promise<LeaseHarness>): Suite {
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
    cases: harnessed(open, cases),
  }
}
