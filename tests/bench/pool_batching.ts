import { systemClock } from '../../shared/base/clock.ts'
import { silentLog } from '../../shared/base/log.ts'
import { Metrics } from '../../shared/base/metrics.ts'
import { seededRandom } from '../../shared/base/random.ts'
import { Pool } from '../../shared/contracts/pool.ts'
import { linkEngine } from '../../shared/engine/engine_link.ts'
import { spawnEngineThread } from '../../shared/engine/spawn_node.ts'
import { node, tensorInfo, toTensorProto } from '../../shared/models/onnx.ts'
import { Hub } from '../../shared/relay/hub.ts'
import { clientOver } from '../../shared/rpc/client.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { Agent } from '../../shared/worker/agent.ts'
import { modelOf } from '../fixtures/models.ts'
import { connect, PairSocket } from '../unit/worker/socket_pair.ts'
import { closedLoop, type Series } from './figures.ts'

const ROUNDS = 7
const FOR_MS = 1_500
const CALLERS = 128
/** Half of the callers wait for one run while the other half is in the next. */
const BATCH = CALLERS / 2
const SIZES = [784, 1024, 1024, 10]
const MODEL = 'a'.repeat(64)

export async function measureBatching(series: Series): Promise<void> {
  const thread = new URL(
    '../../functions/worker/engine_thread.ts',
    import.meta.url,
  )
  const engine = await linkEngine({
    spawn: () => spawnEngineThread(thread, 'wasm'),
  })
  const hub = new Hub({
    name: 'bench',
    clock: systemClock,
    metrics: new Metrics(),
    log: silentLog,
    soon: setImmediate,
    admit: () => Promise.resolve({ volunteer: false }),
  })
  const agent = new Agent({
    name: 'bench',
    engine,
    models: { get: () => Promise.resolve(perceptron()) },
    enrol() {
      const socket = new PairSocket()
      queueMicrotask(() => connect(socket, hub))
      return Promise.resolve({ token: 'token', socket })
    },
    clock: systemClock,
    random: Math.random,
    log: silentLog,
  })
  try {
    const pool = clientOver(Pool, {
      transport: { send: hub.send, codec: 'value', close() {} },
      clock: systemClock,
    })
    while (hub.workers().length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    const row = rows(1)
    const call = (batchable: boolean) =>
      pool.run({
        model: { sha256: MODEL, batchable },
        inputs: { x: row },
      })
    const batch = { x: rows(BATCH) }
    const sides = {
      batched: async () => (await closedLoop(() => call(true), CALLERS, FOR_MS)).perSecond,
      unbatched: async () => (await closedLoop(() => call(false), CALLERS, FOR_MS)).perSecond,
      // Two at once, as the pool does: one computes while the other is on its way.
      handBatched: async () =>
        BATCH *
        (await closedLoop(() => engine.run(MODEL, batch), 2, FOR_MS)).perSecond,
    }
    for (const side of Object.values(sides)) await side()
    for (let round = 0; round < ROUNDS; round++) {
      const batched = await sides.batched()
      const hand = await sides.handBatched()
      const unbatched = await sides.unbatched()
      series.add('batched_vs_unbatched', 'ratio', batched / unbatched)
      series.add('batched_vs_hand_batched', 'ratio', batched / hand)
      series.add('batched_rows_per_s', '1/s', batched)
      series.add('hand_batched_rows_per_s', '1/s', hand)
      series.add('unbatched_rows_per_s', '1/s', unbatched)
    }
  } finally {
    await agent.drain()
    hub.close()
    await engine.close()
  }
}

const random = seededRandom(7)

function uniform(...shape: number[]): Tensor {
  const count = shape.reduce((product, size) => product * size, 1)
  return Tensor.from(
    'float32',
    shape,
    Float32Array.from({ length: count }, () => 0.1 * random() - 0.05),
  )
}

function rows(count: number): Tensor {
  return uniform(count, SIZES[0] ?? 0)
}

/** A digit recognizer's shape: two million weights, which one row reads all of. */
function perceptron() {
  const layers = SIZES.slice(1).map((_, i) => i)
  return modelOf({
    node: layers.flatMap((i) => [
      node('Gemm', [i === 0 ? 'x' : `h${i}`, `w${i}`, `b${i}`], [
        i === layers.length - 1 ? 'y' : `g${i}`,
      ]),
      ...(i === layers.length - 1 ? [] : [node('Relu', [`g${i}`], [`h${i + 1}`])]),
    ]),
    input: [tensorInfo('x', 'float32', ['N', SIZES[0] ?? 0])],
    output: [tensorInfo('y', 'float32', ['N', SIZES.at(-1) ?? 0])],
    initializer: layers.flatMap((i) => [
      toTensorProto(`w${i}`, uniform(SIZES[i] ?? 0, SIZES[i + 1] ?? 0)),
      toTensorProto(`b${i}`, uniform(SIZES[i + 1] ?? 0)),
    ]),
  })
}
