import { join } from 'node:path'
import { expect, it } from 'vitest'
import { enrol, type HostWorker, startHostWorker } from '../../functions/worker/host_worker.ts'
import { systemClock } from '../../shared/base/clock.ts'
import { silentLog } from '../../shared/base/log.ts'
import type { Engine } from '../../shared/engine/engine.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { Agent } from '../../shared/worker/agent.ts'
import { httpModels } from '../../shared/worker/model_source.ts'
import { report } from '../faults/figures.ts'
import { busyModel } from '../faults/busy_model.ts'
import { affine } from '../fixtures/models.ts'
import { temporaryFolder } from '../fixtures/process.ts'
import { eventually } from './expectations.ts'
import { ask, inferenceAt } from './gateway_http.ts'
import { metricAt } from './gateway_metrics.ts'
import { startWith } from './start_node_gateway.ts'

const WEIGHTS = { weights: [[1, -2], [0.5, 3], [4, 0.25]], bias: [0.5, -1] }
const HONEST = 2

/** An engine that computes and then says something else: the first number of each output and one more. */
function lying(engine: Engine): Engine {
  return {
    info: engine.info,
    load: (key, model, options) => engine.load(key, model, options),
    unload: (key) => engine.unload(key),
    close: () => engine.close(),
    async run(key, inputs) {
      const { outputs, timings } = await engine.run(key, inputs)
      const y = outputs.y?.data as Float32Array
      const [first = 0, ...rest] = y
      return { outputs: { y: Tensor.from('float32', outputs.y?.shape ?? [], [first + 1, ...rest]) }, timings }
    },
  }
}

interface Listed {
  name: string
  refused?: { model: string; reason: string }[]
}

it(
  'abuse 23: a worker that answers wrong is found out, put out for that model, and its callers get right answers',
  async () => {
    await using folder = await temporaryFolder()
    const gateway = await startWith([], { SHOAL_SPOT_CHECKS: '1' })
    const workers: HostWorker[] = []
    const start = async (name: string) => {
      const cacheDir = join(folder.path, name)
      const worker = await startHostWorker({ gateway: gateway.url, headers: {}, name, cacheDir, log: silentLog })
      workers.push(worker)
      return worker
    }
    const listed = async (): Promise<Listed[]> => (await ask(gateway.url, 'GET', '/workers')).json.workers
    const refusedOf = async (name: string) => (await listed()).find((worker) => worker.name === name)?.refused ?? []
    const { infer } = inferenceAt(gateway.url)
    let calls = 0
    const isRight = async (model: string): Promise<boolean> => {
      const row = [calls++ % 11, 3, -1]
      const { outputs } = await infer({ model, inputs: { x: Tensor.from('float32', [1, 3], row) } }, {
        timeoutMs: 30_000,
      })
      return String([...outputs.y?.data as Float32Array]) === String(affine(WEIGHTS, row))
    }
    let liar: Agent | undefined
    try {
      const { sha256 } = (await ask(gateway.url, 'PUT', '/models/sums/versions/1', { body: busyModel(WEIGHTS) })).json
      const engine = (await start('honest-1')).engine
      for (let i = 2; i <= HONEST; i++) await start(`honest-${i}`)
      liar = new Agent({
        name: 'liar',
        engine: lying(engine),
        models: httpModels(gateway.url),
        enrol: (signal) => enrol(gateway.url, {}, signal),
        clock: systemClock,
        random: Math.random,
        log: silentLog,
      })
      await eventually(async () => (await listed()).length === HONEST + 1)
      let wrong = 0
      // So many at once that each of the workers has some; between them they are idle, and check.
      await eventually(async () => {
        const right = await Promise.all(Array.from({ length: 6 }, () => isRight('sums')))
        wrong += right.filter((one) => !one).length
        return (await refusedOf('liar')).length > 0
      })
      const until = calls
      expect(await refusedOf('liar')).toEqual([{
        model: sha256,
        reason: expect.stringMatching(/computes it wrong: output "y"/),
      }])
      for (let i = 1; i <= HONEST; i++) expect(await refusedOf(`honest-${i}`)).toEqual([])
      expect(await metricAt(gateway.url, 'shoal_pool_workers_barred_total{device="wasm"}')).toBe(1)

      const after = await Promise.all(Array.from({ length: 60 }, () => isRight('sums')))
      expect(after.filter((one) => !one)).toEqual([])
      report('abuse 23 wrong output', 'verification rejects', {
        'calls checked': 'all that can be',
        'wrong answers until it was put out': wrong,
        'of calls': until,
        'wrong answers of 60 calls after': after.filter((one) => !one).length,
      })
    } finally {
      await liar?.drain()
      await Promise.all(workers.map((worker) => worker.stop()))
      await gateway.close()
    }
  },
)
