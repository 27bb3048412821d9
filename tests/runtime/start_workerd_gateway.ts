import { type LocalWorkers, startLocalWorkers } from '../../infra/local_workers.ts'
import type { KeyRecord } from '../../shared/stores/keys.ts'

/**
 * Starts the gateway that is deployed to Cloudflare in workerd, with an empty store of its own. It needs keys if some are
 * given, and is open on loopback otherwise.
 * @param vars more variables and secrets of the Worker
 */
export function startWorkerdGateway(
  keys: readonly KeyRecord[] = [],
  vars: Readonly<Record<string, string>> = {},
): Promise<LocalWorkers> {
  const access: Record<string, string> = keys.length > 0 ? { SHOAL_KEYS: JSON.stringify(keys) } : { SHOAL_OPEN: '1' }
  return startLocalWorkers({ vars: { SHOAL_LOG: 'error', SHOAL_SPOT_CHECKS: '0', ...access, ...vars } })
}
