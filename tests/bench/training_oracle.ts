import { seededRandom } from '../../shared/base/random.ts'
import type { Parameter } from '../../shared/training/parameters.ts'
import { type StepGraph } from '../../shared/training/step_graph.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { CLASSES, type ModelName, SIDE } from './training_task.ts'

export interface Batch {
  rows: number
  rowShape: readonly number[]
  classes: number
  x: Float32Array<ArrayBuffer>
  labels: Int32Array<ArrayBuffer>
  oneHot: Float32Array<ArrayBuffer>
}

/** Another library with models and automatic differentiation. */
export interface Peer {
  name: string
  prepare(
    name: ModelName,
    layout: readonly Parameter[],
    initial: Float32Array,
    batch: Batch,
  ): PeerStep
}

export interface PeerStep {
  /** Sums over the batch, of the loss and of its gradient by each parameter. */
  gradients(): Promise<{ loss: number; gradients: readonly Float32Array[] }>
  /** One step of plain gradient descent, computed to its end. @returns the loss before it */
  step(learningRate: number): Promise<number>
  dispose(): void
}

export function batchOf(name: ModelName, rows: number): Batch {
  const random = seededRandom(9)
  const x = Float32Array.from({ length: rows * SIDE * SIDE }, () => random())
  const labels = Int32Array.from(
    { length: rows },
    () => Math.floor(random() * CLASSES),
  )
  const oneHot = new Float32Array(rows * CLASSES)
  for (const [row, label] of labels.entries()) {
    oneHot[row * CLASSES + label] = 1
  }
  return {
    rows,
    rowShape: name === 'mlp' ? [SIDE * SIDE] : [1, SIDE, SIDE],
    classes: CLASSES,
    x,
    labels,
    oneHot,
  }
}

/** What our step graph is fed for that batch, but for its parameters. */
export function feedsOf(
  graph: StepGraph,
  { x, labels, rows }: Batch,
): Record<string, Tensor> {
  const values = {
    data: x,
    target: labels,
    weights: new Float32Array(rows).fill(1),
    parameters: undefined,
    dropout: undefined,
  }
  return Object.fromEntries(
    graph.inputs.flatMap(({ name, dtype, shape, role }) => {
      const data = values[role]
      return data ? [[name, new Tensor(dtype, shape, new Uint8Array(data.buffer))]] : []
    }),
  )
}
