/** A Worker that runs the stores' suites and answers with a report. */
import { runSuites } from '../suite.ts'
import { restSuites } from './stores_rest.ts'

export default {
  async fetch(_request: Request, env: { url: string; token: string }): Promise<Response> {
    const results = await runSuites(restSuites(() => env))
    return Response.json({ userAgent: navigator.userAgent, results })
  },
}
