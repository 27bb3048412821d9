import { LIMITS } from '../base/limits.ts'
import { isVersion } from '../base/version.ts'
import { invalid } from '../wire/errors.ts'

/** @throws RpcError `invalid_argument` unless a model can have this name */
export function checkName(action: 'push' | 'find' | 'delete', name: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name) && name.length <= LIMITS.maxNameLength) return
  throw invalid(
    `Cannot ${action} a model: its name must be 1 to ${LIMITS.maxNameLength} of [A-Za-z0-9._-] and begin with a letter or digit, got ${
      JSON.stringify(name.slice(0, LIMITS.maxNameLength))
    }`,
  )
}

/** @throws RpcError `invalid_argument` unless a version can be this: a whole number or a semantic version without build */
export function checkVersion(action: 'push' | 'find', version: string): void {
  const fits = /^(0|[1-9]\d{0,8})$/.test(version) || (isVersion(version) && version.length <= 64)
  if (fits && !version.includes('+')) return
  throw invalid(
    `Cannot ${action} a model: its version must be a whole number or a semantic version such as 1.4.0, got ${
      JSON.stringify(version.slice(0, LIMITS.maxNameLength))
    }`,
  )
}
