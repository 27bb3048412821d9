import type { Suite } from '../../suite.ts'
import { drainCases } from './agent_drain_cases.ts'
import { joinCases } from './agent_join_cases.ts'
import { linkCases } from './agent_link_cases.ts'

export const agentSuite: Suite = {
  name: 'worker: agent',
  cases: { ...joinCases, ...linkCases, ...drainCases },
}
