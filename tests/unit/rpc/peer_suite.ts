import type { Suite } from '../../suite.ts'
import { endingCases } from './peer_ending_cases.ts'
import { errorCases } from './peer_error_cases.ts'
import { limitCases } from './peer_limit_cases.ts'
import { messageCases } from './peer_message_cases.ts'

export const peerSuite: Suite = {
  name: 'peer',
  cases: { ...messageCases, ...errorCases, ...endingCases, ...limitCases },
}
