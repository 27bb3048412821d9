import '../../functions/node_heap.ts'
import { seededRandom } from '../../shared/base/random.ts'
import type { Engine } from '../../shared/engine/engine.ts'
import { applyUpdates, meanGradient, sgd } from '../../shared/training/optimizers.ts'
import { ReduceTree } from '../../shared/training/reduce_tree.ts'
import { buildStepGraph, readStep } from '../../shared/training/step_graph.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { type Report, report, Series } from './figures.ts'
import { installPeers } from './programs.ts'
import { batchOf, feedsOf, type Peer, type PeerStep } from './training_oracle.ts'
import { BATCH, measureScaling, measureSystem, SCALING_SETUP } from './training_system.ts'
import { type ModelName, MODELS, optimizer, OWN, runnerOn, wasmEngine } from './training_task.ts'

const ROUNDS = 5
/** Of a step beside the peers. */
const PEER_ROWS: Readonly<Record<ModelName, number>> = { mlp: 512, cnn: 64 }
/** About a second per round. */
const PEER_STEPS: Readonly<Record<ModelName, number>> = { mlp: 20, cnn: 5 }
const LEARNING_RATE = 0.01
const LARGE = 10_000_000

const SETUP = [
  `system: what shoal train --workers 1 runs, one process: coordinator, gateway with its relay, one Node WASM worker ` +
  `whose engine has a thread; three_processes: the same with coordinator, gateway and worker in a process each, on ` +
  `sockets of loopback; Adam, one shard of ${BATCH} rows a step, MLP 784-256-256-10 and CNN 1×28×28, filters 16-32; loop: the same graph, rows ` +
  'and optimizer in one thread of one process; …_cpu: processor time of all threads, which other load disturbs less',
  `peers: one thread of Node, WASM; loss, gradient and plain descent; MLP batch ${PEER_ROWS.mlp}, CNN batch ` +
  `${PEER_ROWS.cnn}`,
  'coordinator: adds two shards and makes a step of Adam, without the way to the workers',
  SCALING_SETUP,
].join('; ')

export async function trainingBench(): Promise<Report> {
  const series = new Series()
  const missing: string[] = []
  for (const name of ['mlp', 'cnn'] as const) await measureSystem(name, series)
  await measureScaling(series)
  measureCoordinator(series)
  const none = await installPeers()
  if (none) missing.push(`tfjs and jax-js: ${none}`)
  else await measurePeers(series)
  missing.push(
    'vs_tfjs_wasm_cnn: its WASM backend has no Conv2DBackpropFilter',
  )
  const packages = [
    'onnxruntime-web',
    '@tensorflow/tfjs',
    '@tensorflow/tfjs-backend-wasm',
    '@jax-js/jax',
  ]
  return report('training', SETUP, packages, series.figures(), missing)
}

/** What a step costs the coordinator itself for ten million parameters. */
function measureCoordinator(series: Series): void {
  const random = seededRandom(3)
  const shards = [0, 1].map(() => Float32Array.from({ length: LARGE + 2 }, () => random() - 0.5))
  const { init, update } = optimizer()
  let state = init(LARGE)
  let parameters = new Float32Array(LARGE)
  // One more than is counted: the first compiles.
  for (let round = 0; round <= ROUNDS; round++) {
    // As they come in: no step has them twice.
    const received = shards.map((shard) => shard.slice())
    const startedAtMs = performance.now()
    const tree = new ReduceTree({ from: 0, to: shards.length }, LARGE + 2)
    for (const [from, sum] of received.entries()) {
      tree.add({ from, to: from + 1, sum }, true)
    }
    const addedAtMs = performance.now()
    const gradient = meanGradient(
      tree.sum?.subarray(0, LARGE) ?? new Float32Array(LARGE),
      BATCH,
      true,
    )
    const next = update(gradient, state, parameters, OWN)
    parameters = applyUpdates(parameters, next.updates, next.isOwn)
    state = next.state
    const endedAtMs = performance.now()
    if (round === 0) continue
    series.add('coordinator_ms_10m_params', 'ms', endedAtMs - startedAtMs)
    series.add('coordinator_sum_ms_10m_params', 'ms', addedAtMs - startedAtMs)
    series.add('coordinator_adam_ms_10m_params', 'ms', endedAtMs - addedAtMs)
  }
}

async function measurePeers(series: Series): Promise<void> {
  const { openTfjs } = await import('./training_tfjs.ts')
  const { openJax } = await import('./training_jax.ts')
  const jax = await openJax()
  const tfjs = await openTfjs('wasm')
  const engine = await wasmEngine()
  try {
    await measureBeside(
      engine,
      'mlp',
      { vs_tfjs_wasm: tfjs, vs_jax_js: jax },
      series,
    )
    await measureBeside(engine, 'cnn', { vs_jax_js: jax }, series)
  } finally {
    await engine.close()
  }
}

/** Our steps per second over theirs, in turns. */
async function measureBeside(
  engine: Engine,
  name: ModelName,
  peers: Readonly<Record<string, Peer>>,
  series: Series,
): Promise<void> {
  const [rows, steps] = [PEER_ROWS[name], PEER_STEPS[name]]
  const batch = batchOf(name, rows)
  const graph = await buildStepGraph({
    model: MODELS[name](),
    loss: 'crossEntropyOfLabels',
    batch: rows,
    run: runnerOn(engine),
  })
  await engine.load(name, graph.bytes)
  const inputs = feedsOf(graph, batch)
  const { init, update } = sgd({ learningRate: LEARNING_RATE })
  let parameters = graph.initial
  let state = init(graph.parameterCount)
  const ours: Pick<PeerStep, 'step'> = {
    async step() {
      inputs['shoal.parameters'] = Tensor.from(
        'float32',
        [parameters.length],
        parameters,
      )
      const output = (await engine.run(name, inputs)).outputs[graph.output.name]
      if (!output) {
        throw new Error(
          `Cannot take a step: the graph must give ${graph.output.name}`,
        )
      }
      const { gradient, loss, n } = readStep(graph, output)
      const next = update(meanGradient(gradient, n, true), state, parameters, OWN)
      parameters = applyUpdates(parameters, next.updates, next.isOwn)
      state = next.state
      return loss
    },
  }
  const theirs = Object.entries(peers).map(([figure, peer]) => {
    return [
      figure,
      peer.prepare(name, graph.parameters, graph.initial, batch),
    ] as const
  })
  for (const one of [ours, ...theirs.map(([, step]) => step)]) {
    await rateOf(one, 2)
  }
  for (let round = 0; round < ROUNDS; round++) {
    const rate = await rateOf(ours, steps)
    series.add(`step_graph_per_s_${name}`, '1/s', rate)
    for (const [figure, step] of theirs) {
      series.add(
        `${figure}_${name}`,
        'ratio',
        rate / await rateOf(step, steps),
      )
    }
  }
  for (const [, step] of theirs) step.dispose()
}

async function rateOf(
  one: Pick<PeerStep, 'step'>,
  steps: number,
): Promise<number> {
  const startedAtMs = performance.now()
  for (let i = 0; i < steps; i++) await one.step(LEARNING_RATE)
  return steps * 1_000 / (performance.now() - startedAtMs)
}
