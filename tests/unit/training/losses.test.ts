import { describe, expect, it } from 'vitest'
import { Builder } from '../../../shared/training/builder.ts'
import { differentiate } from '../../../shared/training/differentiate.ts'
import { addLoss, LOSSES, type LossName, lossOf } from '../../../shared/training/losses.ts'
import { writeGraph } from '../../../shared/training/write_graph.ts'
import { product, Tensor } from '../../../shared/wire/tensor.ts'
import { random } from './gradient_case.ts'
import { relativeError } from './gradient_check.ts'
import { open } from './wasm.ts'

interface Example {
  loss: LossName
  logits: Tensor<'float64'>
  target: Tensor
  weights: Tensor<'float64'>
}

const softmax = (z: readonly number[]) => {
  const largest = Math.max(...z)
  const e = z.map((value) => Math.exp(value - largest))
  const sum = e.reduce((a, b) => a + b)
  return e.map((value) => value / sum)
}
const logit = (z: readonly number[]) => softmax(z).map(Math.log)
const leads = (z: readonly number[], label: number) => z.every((value, i) => i === label || value < (z[label] ?? NaN))
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length
const rows = (values: ArrayLike<number>, width: number) =>
  Array.from({ length: values.length / width }, (_, i) => Array.from(values).slice(i * width, (i + 1) * width))

/** Each loss and its share of right answers per sample, written out in JavaScript. */
const EXPECTED: Record<LossName, (z: number[], y: number[]) => { loss: number; correct: number }> = {
  crossEntropy: (z, y) => ({
    loss: -logit(z).reduce((sum, value, i) => sum + value * (y[i] ?? NaN), 0),
    correct: Number(leads(z, y.indexOf(Math.max(...y)))),
  }),
  crossEntropyOfLabels: (z, [label = -1]) => ({
    loss: -(logit(z)[label] ?? NaN),
    correct: Number(leads(z, label)),
  }),
  binaryCrossEntropy: (z, y) => ({
    loss: mean(
      z.map((value, i) => Math.log1p(Math.exp(-Math.abs(value))) + Math.max(value, 0) - value * (y[i] ?? NaN)),
    ),
    correct: mean(z.map((value, i) => Number(value > 0 === (y[i] ?? NaN) > 0.5))),
  }),
  meanSquaredError: (z, y) => ({ loss: mean(z.map((value, i) => (value - (y[i] ?? NaN)) ** 2)), correct: 0 }),
}

const oneHot = (labels: readonly number[], classes: number) =>
  labels.flatMap((label) => Array.from({ length: classes }, (_, i) => Number(i === label)))
const f64 = (shape: readonly number[], values: readonly number[]) => Tensor.from('float64', shape, values)
const labels = (shape: readonly number[], values: readonly number[]) => Tensor.from('int32', shape, values)

const z = random([4, 3], { low: -3, high: 3 })
const weights = f64([4], [1, 0.5, 0, 2])
const tokens = random([2, 3, 5], { low: -3, high: 3 })
const EXAMPLES: Record<string, Example> = {
  'cross-entropy': { loss: 'crossEntropy', logits: z, target: f64([4, 3], oneHot([2, 0, 1, 1], 3)), weights },
  'cross-entropy with soft targets': {
    loss: 'crossEntropy',
    logits: z,
    target: f64([4, 3], [0.2, 0.3, 0.5, 1, 0, 0, 0.5, 0.5, 0, 0.1, 0.8, 0.1]),
    weights,
  },
  'cross-entropy of labels': { loss: 'crossEntropyOfLabels', logits: z, target: labels([4], [2, 0, 1, 1]), weights },
  'cross-entropy of labels of tokens': {
    loss: 'crossEntropyOfLabels',
    logits: tokens,
    target: labels([2, 3], [4, 0, 1, 1, 3, 2]),
    weights: f64([2, 3], [1, 1, 0, 0.5, 1, 2]),
  },
  'cross-entropy far out': {
    loss: 'crossEntropyOfLabels',
    logits: f64([3, 2], [900, -900, -900, 900, 1000, 999]),
    target: labels([3], [0, 0, 1]),
    weights: f64([3], [1, 1, 1]),
  },
  'cross-entropy of a model that says nothing': {
    loss: 'crossEntropyOfLabels',
    logits: f64([2, 3], [0, 0, 0, 1, 1, -1]),
    target: labels([2], [0, 1]),
    weights: f64([2], [1, 1]),
  },
  'binary cross-entropy': {
    loss: 'binaryCrossEntropy',
    logits: z,
    target: f64([4, 3], [0, 1, 1, 0, 0.25, 1, 0, 0, 0, 1, 1, 0]),
    weights,
  },
  'binary cross-entropy at 0 and far out': {
    loss: 'binaryCrossEntropy',
    logits: f64([3, 2], [0, 0, 700, -700, 700, -700]),
    target: f64([3, 2], [0, 1, 1, 0, 0, 1]),
    weights: f64([3], [1, 1, 1]),
  },
  'mean squared error': { loss: 'meanSquaredError', logits: z, target: random([4, 3], { seed: 9 }), weights },
  'mean squared error of pictures': {
    loss: 'meanSquaredError',
    logits: random([2, 1, 2, 3]),
    target: random([2, 1, 2, 3], { seed: 4 }),
    weights: f64([2], [1, 3]),
  },
}

async function compute({ loss, logits, target, weights }: Example) {
  const b = new Builder()
  const x = b.input('z', 'float64', logits.shape)
  const sums = addLoss(b, lossOf(loss), x, { target: 'y', weights: 'w' })
  const [gradient = ''] = differentiate(b, sums.loss, [x])
  const outputs = { loss: sums.loss, correct: sums.correct ?? b.scalar(0, 'float64'), n: sums.n, gradient }
  await using session = await open(writeGraph(b, Object.entries(outputs).map(([name, value]) => ({ name, value }))))
  const at = (z: Tensor) => session.run({ z, y: target, w: weights })
  const result = await at(logits)
  const values = Array.from(logits.data)
  const difference = new Float64Array(values.length)
  for (const [i, value] of values.entries()) {
    const lossAt = async (moved: number) =>
      (await at(Tensor.from('float64', logits.shape, values.with(i, moved)))).loss?.data[0] as number
    difference[i] = (await lossAt(value + 1e-4) - await lossAt(value - 1e-4)) / 2e-4
  }
  return { result, difference }
}

describe('each loss is the weighted sum it says, and so is its gradient', () => {
  for (const [title, example] of Object.entries(EXAMPLES)) {
    it(title, async () => {
      const { loss, logits, target, weights } = example
      const width = product(logits.shape) / weights.size
      const each = rows(logits.data, width).map((z, i) => {
        return EXPECTED[loss](z, rows(target.data as Float64Array, target.size / weights.size)[i] ?? [])
      })
      const weighted = (pick: (one: { loss: number; correct: number }) => number) =>
        each.reduce((sum, one, i) => sum + pick(one) * (weights.data[i] ?? NaN), 0)
      const { result, difference } = await compute(example)
      expect(result.loss?.shape).toEqual([])
      // In JavaScript a probability of e^−1800 is 0, its logarithm −∞: there only the gradient is compared.
      const expectedLoss = weighted((one) => one.loss)
      if (Number.isFinite(expectedLoss)) expect(result.loss?.data[0]).toBeCloseTo(expectedLoss, 9)
      else expect(result.loss?.data[0]).toBeCloseTo(1801.3132616875182, 6)
      expect(result.correct?.data[0]).toBeCloseTo(weighted((one) => one.correct), 9)
      expect(result.n?.data[0]).toBe(weights.data.reduce((a, b) => a + b))
      expect(relativeError(result.gradient, difference)).toBeLessThan(1e-5)
    })
  }

  it('is tried for all of them', () => {
    expect(new Set(Object.values(EXAMPLES).map(({ loss }) => loss))).toEqual(new Set(Object.keys(LOSSES)))
  })

  it('gives exactly no gradient to a sample of weight 0', async () => {
    const { result } = await compute(EXAMPLES['cross-entropy'] as Example)
    expect(Array.from(result.gradient?.data as Float64Array).slice(6, 9).every((value) => value === 0)).toBe(true)
  })
})
