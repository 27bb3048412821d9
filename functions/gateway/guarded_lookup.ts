import { lookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { isForbiddenAddress } from './forbidden_host.ts'

/**
 * Resolves names for connections, and refuses what resolves to an address that a gateway must not call. The connection
 * goes to the very address that was looked at: a name that is given another address later is looked at again.
 * @param resolve the system's resolver by default
 */
export function guardedLookup(resolve: LookupFunction = lookup as LookupFunction): LookupFunction {
  return (hostname, options, callback) =>
    resolve(hostname, options, (error, address, family) => {
      const found = Array.isArray(address) ? address.map((one) => one.address) : [address]
      const forbidden = error ? undefined : found.find(isForbiddenAddress)
      if (forbidden === undefined) return callback(error, address, family)
      const reason = `${hostname} must not resolve to a link-local or metadata address, got ${forbidden}`
      callback(Object.assign(new Error(reason), { code: 'EFORBIDDEN' }), [])
    })
}
