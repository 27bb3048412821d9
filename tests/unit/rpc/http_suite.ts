import type { Suite } from '../../suite.ts'
import { answerCases } from './http_answer_cases.ts'
import { requestCases } from './http_request_cases.ts'
import { transportCases } from './http_transport_cases.ts'

export const httpSuite: Suite = {
  name: 'HTTP',
  cases: { ...requestCases, ...answerCases, ...transportCases },
}
