/** The gateway as `shoal start` runs it, in a folder of its own, without workers. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { silentLog } from '../../shared/base/log.ts'
import { startNodeGateway } from '../../functions/gateway/node.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'shoal-bench-'))
const gateway = await startNodeGateway({ host: '127.0.0.1', port: 0, dataDir, env: {}, log: silentLog })
process.send?.({ port: Number(new URL(gateway.url).port) })
