import { silentLog } from '../../shared/base/log.ts'
import { startNodeGateway } from '../../functions/gateway/node.ts'
import { temporaryFolder } from '../fixtures/process.ts'
import type { StartGateway } from './gateway_suite.ts'

/** In this process, on a free port. */
export const startInProcess: StartGateway = (keys) => startWith(keys, { SHOAL_SPOT_CHECKS: '0' })

/** @param more of the environment */
export async function startWith(...[keys, more]: [...Parameters<StartGateway>, Record<string, string>]) {
  const folder = await temporaryFolder()
  const gateway = await startNodeGateway({
    host: '127.0.0.1',
    port: 0,
    dataDir: folder.path,
    env: { ...more, ...(keys.length > 0 && { SHOAL_KEYS: JSON.stringify(keys) }) },
    log: silentLog,
  })
  return {
    url: gateway.url,
    async close() {
      await gateway.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}
