/**
 * `training_local.ts MODEL ROWS BATCH`: all of `shoal train --workers 1` in one process, taken some steps at a time: a
 * message `{ steps }` is answered with how long they took and the bytes of tensors that the coordinator sent and received.
 */
import '../../functions/node_heap.ts'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { silentLog } from '../../shared/base/log.ts'
import { openOwnGateway, putBlobTo, startWorkers } from '../../functions/trainer/trainer_gateway.ts'
import { ready } from './ready.ts'
import { cpuMs, type ModelName, MODELS, noise, openRun, prepare, wasmEngine } from './training_task.ts'

export interface LocalSteps {
  milliseconds: number
  /** Of all threads of the process. */
  cpuMilliseconds: number
  sentBytes: number
  receivedBytes: number
}

const [name = 'mlp', rows = 0, batch = 0] = process.argv.slice(2).map((text, i) => i ? Number(text) : text) as [
  ModelName,
  number,
  number,
]
const folder = mkdtempSync(join(tmpdir(), 'shoal-bench-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

const { access, local } = await openOwnGateway(folder, 0, silentLog)
await startWorkers(1, access, join(folder, 'cache'), silentLog, local)
const put = putBlobTo(access)
const engine = await wasmEngine()
const prepared = await prepare(MODELS[name](), engine, await noise(rows, put), { batch, shards: 1 }, put)
await engine.close()
const system = await openRun({ gateway: access.url, local, folder, run: name, prepared })

process.on('message', async ({ steps }: { steps: number }) => {
  const startedAt = { ms: performance.now(), cpu: process.cpuUsage() }
  const last = (await system.steps(steps)).at(-1)
  const milliseconds = performance.now() - startedAt.ms
  const cpuMilliseconds = cpuMs(startedAt.cpu)
  process.send?.({
    ...{ milliseconds, cpuMilliseconds },
    sentBytes: last?.sentBytes ?? 0,
    receivedBytes: last?.receivedBytes ?? 0,
  })
})
ready(0)
