import { LIMITS } from './limits.ts'

/** What zod and other validators say of a value. */
interface Issue {
  path?: readonly unknown[]
  message: string
}

/** Where a value is wrong and how, as it stands in an error: `at "inputs.0.name": …`. The names on the way are callers'. */
export function wordIssue(issue: Issue | undefined): string {
  if (!issue) return 'it is malformed'
  const path = (issue.path ?? []).map(String).join('.').slice(0, LIMITS.maxNameLength)
  return `${path && `at "${path}": `}${issue.message}`
}
