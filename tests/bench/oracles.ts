/**
 * `npm run oracles`: two other libraries differentiate the same models, and must find our losses and gradients. Exits
 * with 1 if the largest difference is over the bound.
 */
import process from 'node:process'
import { buildStepGraph, readStep } from '../../shared/training/step_graph.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { installPeers } from './programs.ts'
import { batchOf, feedsOf, type Peer } from './training_oracle.ts'
import { type ModelName, MODELS, runnerOn, wasmEngine } from './training_task.ts'

/** Of the largest value of each parameter's gradient: small ones are differences of large ones. */
const MOST = 1e-5
const ROWS = 16

const missing = await installPeers()
if (missing) throw new Error(`Cannot ask the oracles: ${missing}`)
const { openTfjs } = await import('./training_tfjs.ts')
const { openJax } = await import('./training_jax.ts')

const engine = await wasmEngine()
let worst = 0
for (const peer of [await openTfjs('cpu'), await openJax()]) {
  for (const name of ['mlp', 'cnn'] as const) {
    worst = Math.max(worst, await compare(peer, name))
  }
}
await engine.close()
console.log(
  `largest difference ${worst.toExponential(2)}, at most ${MOST} is allowed`,
)
process.exit(worst <= MOST ? 0 : 1)

async function compare(peer: Peer, name: ModelName): Promise<number> {
  const graph = await buildStepGraph({
    model: MODELS[name](),
    loss: 'crossEntropyOfLabels',
    batch: ROWS,
    run: runnerOn(engine),
  })
  const batch = batchOf(name, ROWS)
  const inputs = feedsOf(graph, batch)
  inputs['shoal.parameters'] = Tensor.from(
    'float32',
    [graph.parameterCount],
    graph.initial,
  )
  const output = (await runnerOn(engine)(graph.bytes, inputs))[graph.output.name]
  if (!output) {
    throw new Error(
      `Cannot compare: the step graph must give ${graph.output.name}`,
    )
  }
  const ours = readStep(graph, output)
  const step = peer.prepare(name, graph.parameters, graph.initial, batch)
  const theirs = await step.gradients()
  step.dispose()
  let largest = Math.abs(ours.loss - theirs.loss) / theirs.loss
  console.log(`${peer.name}, ${name}, loss: ${largest.toExponential(2)}`)
  for (
    const [i, { name: parameter, offset, size }] of graph.parameters.entries()
  ) {
    const [left, right] = [
      ours.gradient.subarray(offset, offset + size),
      theirs.gradients[i],
    ]
    if (right?.length !== size) {
      throw new Error(
        `Cannot compare ${parameter}: ${size} values, got ${right?.length}`,
      )
    }
    let [scale, difference] = [0, 0]
    for (const [j, value] of right.entries()) {
      scale = Math.max(scale, Math.abs(value))
      difference = Math.max(difference, Math.abs(value - (left[j] ?? NaN)))
    }
    // A NaN must not pass for equal.
    const relative = scale > 0 ? difference / scale : Infinity
    console.log(
      `${peer.name}, ${name}, ${parameter}: ${relative.toExponential(2)}`,
    )
    largest = Math.max(largest, Number.isNaN(relative) ? Infinity : relative)
  }
  return largest
}
