import { applyUpdates, meanGradient, type Optimizer, type OptimizerState } from '../../../shared/training/optimizers.ts'
import { ReduceTree } from '../../../shared/training/reduce_tree.ts'
import { buildStepGraph, type StepGraph } from '../../../shared/training/step_graph.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { batchOf, type ToyTask } from './toy_tasks.ts'
import { open, run, type Session } from './wasm.ts'

/** How the shards of a step come in: by default each once, in order. */
export type Arrival = (tree: ReduceTree, compute: (shard: number) => Promise<Float32Array>) => Promise<void>

export interface Trained {
  /** Mean loss of each step's batch, before its update. */
  readonly losses: number[]
  readonly parameters: Float32Array
  readonly state: OptimizerState
}

/** Trains a toy: each step on `shards` × `rows` samples that no step saw before. */
export class Trainer implements AsyncDisposable {
  readonly graph: StepGraph
  readonly #task: ToyTask
  readonly #session: Session
  readonly #rows: number

  static async open(task: ToyTask, rows: number): Promise<Trainer> {
    const graph = await buildStepGraph({ model: task.model, loss: task.loss, batch: rows, run })
    return new Trainer(task, graph, await open(graph.bytes), rows)
  }

  private constructor(task: ToyTask, graph: StepGraph, session: Session, rows: number) {
    this.#task = task
    this.graph = graph
    this.#session = session
    this.#rows = rows
  }

  /** Gradient, loss and n of one shard. */
  async shard(parameters: Float32Array, firstSample: number): Promise<Float32Array> {
    const indices = Array.from({ length: this.#rows }, (_, i) => firstSample + i)
    const output = await this.#session.run({
      'shoal.parameters': Tensor.from('float32', [parameters.length], parameters),
      ...batchOf(this.#task, indices, this.#rows),
    })
    return output['shoal.step']?.data as Float32Array
  }

  async train(
    optimizer: Optimizer,
    steps: number,
    shards: number,
    arrive: Arrival = inOrder(shards),
  ): Promise<Trained> {
    const count = this.graph.parameterCount
    let parameters: Float32Array = this.graph.initial
    let state = optimizer.init(count)
    const losses = []
    for (let step = 0; step < steps; step++) {
      const tree = new ReduceTree({ from: 0, to: shards }, count + 2)
      await arrive(tree, (shard) => this.shard(parameters, (step * shards + shard) * this.#rows))
      const sum = tree.sum
      if (!sum) throw new Error('a shard is missing')
      const n = sum[count + 1] ?? NaN
      losses.push((sum[count] ?? NaN) / n)
      const update = optimizer.update(meanGradient(sum.subarray(0, count), n), state, parameters)
      parameters = applyUpdates(parameters, update.updates)
      state = update.state
    }
    return { losses, parameters, state }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]()
  }
}

function inOrder(shards: number): Arrival {
  return async (tree, compute) => {
    for (let shard = 0; shard < shards; shard++) tree.add({ from: shard, to: shard + 1, sum: await compute(shard) })
  }
}
