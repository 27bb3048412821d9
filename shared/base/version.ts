import semver from 'semver'

/** True for a full semantic version such as 1.4.0. */
export function isVersion(text: string): boolean {
  return semver.valid(text) === text
}

/** True for a semver range such as ^1.2.0 or 1.x; the empty text means any version. */
export function isRange(text: string): boolean {
  return semver.validRange(text) !== null
}

export function satisfies(version: string, range: string): boolean {
  if (range === '') return true
  const key = `${version} ${range}`
  let known = answers.get(key)
  if (known === undefined) {
    if (answers.size >= MAX_ANSWERS) answers.clear()
    answers.set(key, known = semver.satisfies(version, range))
  }
  return known
}

/** A process meets few pairs of version and range, and asks of each with every call. Callers choose ranges: bounded. */
const answers = new Map<string, boolean>()
const MAX_ANSWERS = 1000

/** Order of two versions: below 0 if `left` is older. Whole numbers count as major versions. */
export function compareVersions(left: string, right: string): number {
  const [a, b] = [semver.coerce(left), semver.coerce(right)]
  return a && b ? semver.compare(semver.parse(left) ?? a, semver.parse(right) ?? b) : left.localeCompare(right)
}
