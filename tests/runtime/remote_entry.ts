import { type CaseResult, runSuites } from '../suite.ts'
import { suites } from './suites.ts'

export interface RemoteReport {
  userAgent: string
  results: CaseResult[]
}

/** The module that is bundled for workerd, which calls `fetch` on a request, and for a page, which calls it itself. */
export default {
  async fetch(): Promise<Response> {
    const report: RemoteReport = { userAgent: navigator.userAgent, results: await runSuites(suites) }
    return Response.json(report)
  },
}
