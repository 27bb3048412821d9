import type { ModelManifest, TensorSpec } from '../../shared/wire/signature.ts'
import { DIGIT_SIDE } from './digit_pixels.ts'

const CLASSES = 10

/** A model that reads one digit, and can therefore be tried by drawing one. */
export interface DigitModel {
  kind: 'digit'
  name: string
  input: string
  output: string
  /** One for each class. */
  labels: readonly string[]
}

/** The newest version of each model that takes one 28×28 grey picture and weighs ten classes, by name. */
export function digitModels(models: readonly ModelManifest[]): DigitModel[] {
  const newest = new Map(models.map((model) => [model.name, model]))
  return [...newest.values()].flatMap(({ name, signature, labels }) => {
    const [input, ...others] = signature.inputs
    const output = signature.outputs.find((spec) => holdsOne(spec, [CLASSES]))
    if (!input || others.length > 0 || !holdsOne(input, [1, DIGIT_SIDE, DIGIT_SIDE]) || !output) return []
    const named = labels?.length === CLASSES ? labels : Array.from({ length: CLASSES }, (_, i) => String(i))
    return [{ kind: 'digit', name, input: input.name, output: output.name, labels: named }]
  })
}

/** float32 [N, ...sample], of which one can be asked for. */
function holdsOne({ dtype, shape: [count, ...sample] }: TensorSpec, wanted: readonly number[]): boolean {
  const fits = sample.length === wanted.length && wanted.every((size, axis) => sample[axis] === size)
  return dtype === 'float32' && (count === -1 || count === 1) && fits
}

/**
 * What a classifier weighs, as probabilities. Some end in a softmax; those trained with a cross-entropy loss end before
 * it, and their scores get one here.
 */
export function toProbabilities(scores: ArrayLike<number>): number[] {
  const values = Array.from(scores)
  const sum = values.reduce((total, value) => total + value, 0)
  if (Math.abs(sum - 1) < 1e-3 && values.every((value) => value >= 0)) return values
  // Of the differences to the largest, so that no exponential overflows.
  const largest = Math.max(...values)
  const weights = values.map((value) => Math.exp(value - largest))
  const total = weights.reduce((all, weight) => all + weight, 0)
  return weights.map((weight) => weight / total)
}
