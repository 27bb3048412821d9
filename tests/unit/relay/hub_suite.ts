import type { Suite } from '../../suite.ts'
import { admissionCases } from './hub_admission_cases.ts'
import { callCases } from './hub_call_cases.ts'
import { leavingCases } from './hub_leaving_cases.ts'

export const hubSuite: Suite = {
  name: 'relay: hub and sessions',
  cases: { ...admissionCases, ...callCases, ...leavingCases },
}
