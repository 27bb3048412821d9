import { describe, expect, it } from 'vitest'
import { SHARED_DATA, sum, tallyJunit, tallyVitest } from '../../../infra/tally.ts'

const test = (status: string, fullName = status) => ({ status, fullName })

describe('tallyVitest', () => {
  it('counts tests by what became of them', () => {
    const report = {
      testResults: [
        { status: 'passed', assertionResults: [test('passed'), test('skipped', 'later'), test('todo', 'some day')] },
        { status: 'failed', assertionResults: [test('passed'), test('failed'), test('failed')] },
      ],
    }
    expect(tallyVitest(report, 1)).toEqual({ passed: 2, failed: 2, skipped: ['later', 'some day'] })
  })

  it('counts a file that fails without a failed test', () => {
    const broken = { status: 'failed', assertionResults: [] }
    const setUpFailed = { status: 'failed', assertionResults: [test('skipped', 'a')] }
    expect(tallyVitest({ testResults: [broken, setUpFailed] }, 1)).toEqual({ passed: 0, failed: 2, skipped: ['a'] })
  })

  it('never calls a failed run passed', () => {
    const report = { testResults: [{ status: 'passed', assertionResults: [test('passed')] }] }
    expect(tallyVitest(report, 1)).toEqual({ passed: 1, failed: 1, skipped: [] })
    expect(tallyVitest({ testResults: [] }, 1).failed).toBe(1)
    expect(tallyVitest(undefined, 1).failed).toBe(1)
    expect(tallyVitest(report, 0).failed).toBe(0)
  })
})

describe('tallyJunit', () => {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="4" failures="1" errors="0" time="0.007">
    <testsuite name="a_test.ts" tests="4" disabled="1" errors="0" failures="1">
        <testcase name="left out" classname="a_test.ts"><skipped/></testcase>
        <testcase name="fails" classname="a_test.ts">
            <failure message="x &lt;skipped/&gt; y">Error: &lt;testcase&gt;</failure>
        </testcase>
        <testcase name="passes" classname="a_test.ts">
        </testcase>
        <testcase name="passes too"/>
    </testsuite>
</testsuites>`

  it('counts tests by what became of them', () => {
    expect(tallyJunit(xml, 1)).toEqual({ passed: 2, failed: 1, skipped: ['left out'] })
  })

  it('never calls a failed run passed', () => {
    expect(tallyJunit(undefined, 1)).toEqual({ passed: 0, failed: 1, skipped: [] })
    expect(tallyJunit('<testsuites><testcase name="passes"></testcase></testsuites>', 1).failed).toBe(1)
  })
})

describe('sum', () => {
  const tallies = [
    { passed: 3, failed: 1, skipped: ['needs a GPU'] },
    { passed: 2, failed: 0, skipped: [`learns digits (needs ${SHARED_DATA})`] },
  ]

  it('adds up', () => {
    const total = sum(tallies, { ci: false, hasSharedData: true })
    expect(total).toEqual({ passed: 5, failed: 1, skipped: ['needs a GPU', 'learns digits (needs ../shared/data)'] })
  })

  it('counts a skip as a failure in CI, unless the shared data it needs are not there', () => {
    expect(sum(tallies, { ci: true, hasSharedData: true }).failed).toBe(3)
    expect(sum(tallies, { ci: true, hasSharedData: false }).failed).toBe(2)
  })
})
