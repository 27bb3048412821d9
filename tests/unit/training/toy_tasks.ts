import { seededRandom } from '../../../shared/base/random.ts'
import { newCnn, newMlp, newTransformer } from '../../../shared/training/new_models.ts'
import type { LossName } from '../../../shared/training/losses.ts'
import { groupedModel } from '../../fixtures/training_models.ts'
import { product, Tensor } from '../../../shared/wire/tensor.ts'
import type { Tensors } from './wasm.ts'

/** A model and samples of something that it can learn in a minute. Sample i is the same whoever asks. */
export interface ToyTask {
  readonly model: Uint8Array
  readonly loss: LossName
  /** The model's input, its type and the size of one sample. */
  readonly input: { name: string; dtype: 'float32' | 'int32'; shape: readonly number[] }
  /** Size of one sample's target. */
  readonly target: readonly number[]
  sample(index: number): { input: number[]; label: number[] }
}

/** Which of three directions 8 numbers point in most. */
export const mlpTask: ToyTask = {
  model: newMlp({ inputs: 8, hidden: [16, 16], outputs: 3, activation: 'Gelu', seed: 1 }),
  loss: 'crossEntropyOfLabels',
  input: { name: 'x', dtype: 'float32', shape: [8] },
  target: [],
  sample(index) {
    const next = seededRandom(index + 1)
    const input = Array.from({ length: 8 }, () => 2 * next() - 1)
    const scores = [0, 1, 2].map((k) =>
      input.reduce((sum, value, i) => sum + value * Math.sin(1 + k * 3 + i * (k + 2)), 0)
    )
    return { input, label: [scores.indexOf(Math.max(...scores))] }
  },
}

/** Pictures of a bar: lying, standing or slanted, in noise. */
export const cnnTask: ToyTask = {
  model: newCnn({ channels: 2, height: 9, width: 8, classes: 3, filters: [6, 8], seed: 2 }),
  loss: 'crossEntropyOfLabels',
  input: { name: 'x', dtype: 'float32', shape: [2, 9, 8] },
  target: [],
  sample(index) {
    const next = seededRandom(index + 77)
    const kind = Math.floor(3 * next())
    const at = Math.floor(8 * next())
    const input = Array.from({ length: 2 * 9 * 8 }, (_, i) => {
      const [y, x] = [Math.floor(i / 8) % 9, i % 8]
      const onBar = kind === 0 ? y === at : kind === 1 ? x === at : (x + y) % 8 === at
      return (onBar ? 1 : 0) + 0.4 * next()
    })
    return { input, label: [kind] }
  },
}

/** The same question of the MLP's kind, of pictures, for convolutions in groups. */
export const groupedTask: ToyTask = {
  model: groupedModel(),
  loss: 'crossEntropyOfLabels',
  input: { name: 'x', dtype: 'float32', shape: [1, 5, 5] },
  target: [],
  sample(index) {
    const next = seededRandom(index + 31)
    return { input: Array.from({ length: 25 }, () => 2 * next() - 1), label: [index % 3] }
  },
}

const CONTEXT = 8
/** Sentences that say the same two words again and again. */
export const transformerTask: ToyTask = {
  model: newTransformer({ vocabulary: 6, context: CONTEXT, width: 16, heads: 2, layers: 1, seed: 3 }),
  loss: 'crossEntropyOfLabels',
  input: { name: 'tokens', dtype: 'int32', shape: [CONTEXT] },
  target: [CONTEXT],
  sample(index) {
    const next = seededRandom(index + 5)
    const words = [Math.floor(6 * next()), Math.floor(6 * next())]
    const sentence = Array.from({ length: CONTEXT + 1 }, (_, i) => words[i % 2] ?? 0)
    return { input: sentence.slice(0, CONTEXT), label: sentence.slice(1) }
  },
}

/**
 * A batch's data, targets and weights by the step graph's names. Where there are fewer samples than rows, the first
 * sample stands in the rows that are left, with weight 0.
 */
export function batchOf(task: ToyTask, indices: readonly number[], rows: number, filler?: number): Tensors {
  const chosen = Array.from({ length: rows }, (_, row) => indices[row] ?? filler ?? indices[0] ?? 0)
  const samples = chosen.map((index) => task.sample(index))
  const perSample = product(task.target)
  const weights = chosen.flatMap((_, row) => Array.from({ length: perSample }, () => row < indices.length ? 1 : 0))
  return {
    [task.input.name]: Tensor.from(
      task.input.dtype,
      [rows, ...task.input.shape],
      samples.flatMap(({ input }) => input),
    ),
    'shoal.target': Tensor.from('int32', [rows, ...task.target], samples.flatMap(({ label }) => label)),
    'shoal.weights': Tensor.from('float32', [rows, ...task.target], weights),
  }
}
