/** The gateway as `shoal start` runs it, in a folder of its own, without workers. `gateway_server.ts [REDIS_URL]` */
import '../../functions/node_heap.ts'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { silentLog } from '../../shared/base/log.ts'
import { startNodeGateway } from '../../functions/gateway/node.ts'
import { ready } from './ready.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'shoal-bench-'))
process.on('exit', () => rmSync(dataDir, { recursive: true, force: true }))
const gateway = await startNodeGateway({
  host: '127.0.0.1',
  port: 0,
  dataDir,
  env: { REDIS_URL: process.argv[2] },
  log: silentLog,
})
ready(Number(new URL(gateway.url).port))
