import type { Suite } from '../../suite.ts'
import { callCases } from './router_call_cases.ts'
import { matchCases } from './router_match_cases.ts'
import { retryCases } from './router_retry_cases.ts'

export const routerSuite: Suite = {
  name: 'routing: router',
  cases: { ...callCases, ...matchCases, ...retryCases },
}
