/**
 * Tests that must hold on every runtime we ship to. A suite names no test runner and imports only web-standard code and
 * chai, so that the same functions run under vitest, under Deno, inside workerd and in a browser page.
 */
export interface Suite {
  name: string
  cases: Record<string, () => void | Promise<void>>
}

/** What one case did, as it travels back from a runtime that vitest cannot enter. */
export interface CaseResult {
  suite: string
  name: string
  /** Absent if the case passed. */
  error?: string
}

/** A case longer than this is reported by name, where the caller's time-out could only say that the whole run hung. */
const CASE_TIMEOUT_MS = 30_000

/** Runs every case in turn and reports all of them, however many fail. */
export async function runSuites(suites: readonly Suite[], caseTimeoutMs = CASE_TIMEOUT_MS): Promise<CaseResult[]> {
  const results: CaseResult[] = []
  for (const suite of suites) {
    for (const [name, run] of Object.entries(suite.cases)) {
      const error = await runCase(run, caseTimeoutMs).then(() => undefined, describeError)
      results.push({ suite: suite.name, name, ...(error !== undefined && { error }) })
    }
  }
  return results
}

async function runCase(run: () => void | Promise<void>, timeoutMs: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const hung = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not finished after ${timeoutMs} ms`)), timeoutMs)
  })
  try {
    await Promise.race([run(), hung])
  } finally {
    clearTimeout(timer)
  }
}

function describeError(thrown: unknown): string {
  if (!(thrown instanceof Error)) return `threw ${String(thrown)}`
  const stack = thrown.stack ?? ''
  return stack.includes(thrown.message) ? stack : `${thrown.name}: ${thrown.message}\n${stack}`
}
