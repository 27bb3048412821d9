import type { Suite } from '../../suite.ts'
import { contractCases } from './client_contract_cases.ts'
import { endingCases } from './client_ending_cases.ts'
import { requestCases } from './client_request_cases.ts'

export const clientSuite: Suite = {
  name: 'client and server',
  cases: { ...contractCases, ...requestCases, ...endingCases },
}
