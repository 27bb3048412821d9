import { invalid } from '../wire/errors.ts'
import { Tensor } from '../wire/tensor.ts'
import type { Builder } from './builder.ts'
import { range, type TensorType } from './graph.ts'
import { softplus } from './lower_activations.ts'

/**
 * What a step minimizes. `logits` is the model's output [N, …, C]; a loss has one value per sample, and a sample is
 * whatever has a weight: a row, or, where classes stand on the last of several axes, each position before it.
 */
export interface Loss {
  /** What the caller feeds beside the inputs. */
  target(logits: TensorType): TensorType
  /** One value per sample, of `logits`' shape without the axes a sample spans. */
  perSample(b: Builder, logits: string, target: string): string
  /** 1 where a sample is answered right, else 0 (or the share that is right); undefined where the question has no sense. */
  correct?(b: Builder, logits: string, target: string): string
  /** An activation at the end of a model that the loss contains already: it is left out. */
  activation?: 'Softmax' | 'Sigmoid'
}

/**
 * Softmax over the last axis and the negative log-likelihood of the target: log Σ eˢ − s·target, s = z − max z. The
 * maximum is held constant: it cancels, and taking it out first keeps large logits from overflowing or rounding.
 */
function crossEntropy(b: Builder, logits: string, oneHot: string): string {
  const shifted = b.sub(logits, b.stop(b.reduce('ReduceMax', logits, [-1])))
  const total = b.unary('Log', b.sum(b.unary('Exp', shifted), [-1]))
  return b.sub(dropLast(b, total), pick(b, shifted, oneHot))
}

/**
 * Right where the likeliest class of the target has a larger logit than every other class. Equal logits decide nothing,
 * so they are not right: a model that says nothing scores 0.
 */
function leads(b: Builder, logits: string, target: string): string {
  const isOther = b.step(b.sub(b.reduce('ReduceMax', target, [-1]), target))
  const largest = (without: string) => {
    return dropLast(b, b.reduce('ReduceMax', b.sub(logits, b.mul(without, OUT_OF_REACH)), [-1]))
  }
  return b.step(b.sub(largest(isOther), largest(b.sub(1, isOther))))
}

/** Beyond every logit, yet finite: 0 times it is 0. */
const OUT_OF_REACH = 1e30

function oneHotOf(b: Builder, logits: string, labels: string): string {
  const classes = b.size(logits, -1)
  const ids = b.constant(Tensor.from('int32', [classes], range(classes)))
  return b.cast(b.compare('Equal', b.reshape(labels, [...b.shape(labels), 1]), ids), b.dtype(logits))
}

export const LOSSES = {
  /** Target: one-hot (or any distribution over classes), float32 of the logits' shape [N, …, C]. Weights [N, …]. */
  crossEntropy: {
    target: (logits) => logits,
    perSample: crossEntropy,
    correct: leads,
    activation: 'Softmax',
  },
  /** The same, its target class numbers from 0 up, int32 [N, …]. Weights [N, …]. */
  crossEntropyOfLabels: {
    target: ({ shape }) => ({ dtype: 'int32', shape: shape.slice(0, -1) }),
    perSample: (b, logits, labels) => crossEntropy(b, logits, oneHotOf(b, logits, labels)),
    correct: (b, logits, labels) => leads(b, logits, oneHotOf(b, logits, labels)),
    activation: 'Softmax',
  },
  /** Sigmoid and the negative log-likelihood of 0 or 1, the mean over each row. Target [N, …] from 0 to 1. Weights [N]. */
  binaryCrossEntropy: {
    target: (logits) => logits,
    // log(1 + eᶻ) − z·y
    perSample: (b, z, y) => rowMean(b, b.sub(softplus(b, z), b.mul(z, y))),
    // 1 − |said − true|
    correct: (b, z, y) => rowMean(b, b.sub(1, b.unary('Abs', b.sub(b.step(z), b.step(b.sub(y, 0.5)))))),
    activation: 'Sigmoid',
  },
  /** (z − y)², the mean over each row. Target [N, …]. Weights [N]. */
  meanSquaredError: {
    target: (logits) => logits,
    perSample: (b, z, y) => rowMean(b, b.mul(b.sub(z, y), b.sub(z, y))),
  },
} satisfies Record<string, Loss>

export type LossName = keyof typeof LOSSES

/** @throws RpcError `invalid_argument` for a name that is none */
export function lossOf(name: string): Loss {
  if (Object.hasOwn(LOSSES, name)) return LOSSES[name as LossName]
  throw invalid(`Cannot train the model: loss must be one of ${Object.keys(LOSSES).join(', ')}, got "${name}"`)
}

/** Σ w · loss, and optionally Σ w · correct, over a batch, with n = Σ w: scalars. Samples of weight 0 add exactly nothing. */
export interface LossSums {
  loss: string
  correct: string | undefined
  n: string
}

/** Adds target and weights as inputs, and the loss. */
export function addLoss(
  b: Builder,
  loss: Loss,
  logits: string,
  names: { target: string; weights: string },
): LossSums {
  const type = b.type(logits)
  if (type.shape.length === 0) throw invalid('Cannot train the model: its output must have a batch axis, got a scalar')
  const target = loss.target(type)
  const targetName = b.input(names.target, target.dtype, target.shape)
  const perSample = loss.perSample(b, logits, targetName)
  const weights = b.input(names.weights, type.dtype, b.shape(perSample))
  const correct = loss.correct?.(b, logits, targetName)
  return {
    loss: scalar(b, b.mul(perSample, weights)),
    correct: correct && scalar(b, b.mul(correct, weights)),
    n: scalar(b, weights),
  }
}

function scalar(b: Builder, x: string): string {
  return b.reshape(b.sum(x), [])
}

function dropLast(b: Builder, x: string): string {
  return b.reshape(x, b.shape(x).slice(0, -1))
}

function pick(b: Builder, logits: string, oneHot: string): string {
  return dropLast(b, b.sum(b.mul(logits, oneHot), [-1]))
}

function rowMean(b: Builder, x: string): string {
  return b.reshape(b.mean(x, range(b.shape(x).length).slice(1)), b.shape(x).slice(0, 1))
}
