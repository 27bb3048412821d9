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
  return range === '' || semver.satisfies(version, range)
}

/** Order of two versions: below 0 if `left` is older. Whole numbers count as major versions. */
export function compareVersions(left: string, right: string): number {
  const [a, b] = [semver.coerce(left), semver.coerce(right)]
  return a && b ? semver.compare(semver.parse(left) ?? a, semver.parse(right) ?? b) : left.localeCompare(right)
}
