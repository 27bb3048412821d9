import { expect, it } from 'vitest'
import { wordIssue } from '../../../shared/base/schema_issue.ts'

it('an issue says where and what, as short as may be', () => {
  expect(wordIssue({ path: ['inputs', 0, 'name'], message: 'expected a text' })).toBe(
    'at "inputs.0.name": expected a text',
  )
  expect(wordIssue({ path: [], message: 'expected an object' })).toBe('expected an object')
  expect(wordIssue({ message: 'expected an object' })).toBe('expected an object')
  expect(wordIssue(undefined)).toBe('it is malformed')
  expect(wordIssue({ path: ['x'.repeat(1e6)], message: 'no' }).length).toBeLessThan(1000)
})
