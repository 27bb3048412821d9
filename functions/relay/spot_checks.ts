import { invalid } from '../../shared/wire/errors.ts'

/**
 * Part of the calls that a second worker computes again, as the variable SHOAL_SPOT_CHECKS says it.
 * @returns undefined where it says nothing: DEFAULTS.spotCheckShare then
 * @throws RpcError `invalid_argument`
 */
export function readSpotCheckShare(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined
  const share = Number(text)
  if (share >= 0 && share <= 1) return share
  throw invalid(`Cannot read SHOAL_SPOT_CHECKS: a part of the calls from 0 to 1 is required, got "${text}"`)
}
