/** What a run of tests came to. */
export interface Tally {
  passed: number
  failed: number
  /** Full names of the tests that did not run. */
  skipped: readonly string[]
}

/** The one reason for a skip that a CI run accepts, found in the name of the test or of a `describe` around it. */
export const SHARED_DATA = '../shared/data'

/** As much of vitest's JSON report as the tally reads. */
export interface VitestReport {
  testResults: {
    status: string
    assertionResults: { status: string; fullName: string }[]
  }[]
}

/** @param report undefined if vitest ended without writing one */
export function tallyVitest(report: VitestReport | undefined, exitCode: number): Tally {
  let [passed, failed] = [0, 0]
  const skipped: string[] = []
  for (const file of report?.testResults ?? []) {
    const failedBefore = failed
    for (const { status, fullName } of file.assertionResults) {
      if (status === 'passed') passed++
      else if (status === 'failed') failed++
      else skipped.push(fullName)
    }
    // A file that could not be loaded, or whose set-up failed, has no failed test to show for it.
    if (file.status === 'failed' && failed === failedBefore) failed++
  }
  return { passed, failed: failed + unseenFailures(failed, exitCode), skipped }
}

/** Reads the JUnit report of `deno test`. @param xml undefined if there is none */
export function tallyJunit(xml: string | undefined, exitCode: number): Tally {
  const cases = xml?.match(/<testcase\b[^>]*?(\/>|>[^]*?<\/testcase>)/g) ?? []
  const failed = cases.filter((text) => /<(failure|error)\b/.test(text)).length
  const skipped = cases.filter((text) => /<skipped\b/.test(text)).map((text) => / name="([^"]*)"/.exec(text)?.[1] ?? '')
  return {
    passed: cases.length - failed - skipped.length,
    failed: failed + unseenFailures(failed, exitCode),
    skipped,
  }
}

/** A run that fails though no test did (an unhandled rejection, a crash, no test found) counts as one failure. */
function unseenFailures(failed: number, exitCode: number): number {
  return failed === 0 && exitCode !== 0 ? 1 : 0
}

/**
 * Adds tallies up. In CI a skip is a failure, or a suite could vanish without anyone seeing it; excused are only tests
 * that say they need the shared data where that folder does not exist.
 */
export function sum(tallies: readonly Tally[], where: { ci: boolean; hasSharedData: boolean }): Tally {
  const skipped = tallies.flatMap((tally) => tally.skipped)
  const excused = (name: string) => !where.ci || (!where.hasSharedData && name.includes(SHARED_DATA))
  return {
    passed: tallies.reduce((total, tally) => total + tally.passed, 0),
    failed: tallies.reduce((total, tally) => total + tally.failed, 0) + skipped.filter((name) => !excused(name)).length,
    skipped,
  }
}
