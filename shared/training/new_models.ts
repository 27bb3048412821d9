import type { Bytes } from '../base/bytes.ts'
import { invalid } from '../wire/errors.ts'
import { product, Tensor } from '../wire/tensor.ts'
import { range } from './graph.ts'
import { heBound, ModelWriter, type Name, xavierBound } from './model_writer.ts'

export interface MlpOptions {
  /** Numbers per sample. */
  inputs: number
  /** Units of each hidden layer; none makes a linear model. */
  hidden: readonly number[]
  outputs: number
  activation?: 'Relu' | 'Tanh' | 'Gelu'
  /** Share of each hidden layer that is dropped in training. */
  dropout?: number
  seed?: number
}

/** Fully connected layers: `x` float32 [N, inputs] → `logits` float32 [N, outputs], untrained. */
export function newMlp({ inputs, hidden, outputs, activation = 'Relu', dropout = 0, seed = 0 }: MlpOptions): Bytes {
  checkSizes({ inputs, outputs, ...numbered('hidden', hidden) })
  const m = new ModelWriter(seed)
  let x = 'x'
  let width = inputs
  for (const [i, units] of hidden.entries()) {
    x = m.add(activation, [dense(m, `layer${i}`, x, width, units, heBound(width))])
    x = drop(m, x, dropout)
    width = units
  }
  const logits = dense(m, `layer${hidden.length}`, x, width, outputs, xavierBound(width, outputs))
  return m.finish(
    { name: 'x', dtype: 'float32', shape: [inputs] },
    { name: 'logits', value: logits, shape: [outputs] },
    `Multilayer perceptron ${[inputs, ...hidden, outputs].join('-')}`,
  )
}

export interface CnnOptions {
  channels: number
  height: number
  width: number
  classes: number
  /** Channels after each stage of convolution, ReLU and halving. */
  filters?: readonly number[]
  /** Share of the last pictures that is dropped in training. */
  dropout?: number
  seed?: number
}

/**
 * Stages of Conv 3×3, GroupNormalization, ReLU and MaxPool 2×2, then one dense layer:
 * `x` float32 [N, channels, height, width] → `logits` float32 [N, classes], untrained.
 */
export function newCnn(options: CnnOptions): Bytes {
  const { channels, height, width, classes, filters = [16, 32], dropout = 0, seed = 0 } = options
  checkSizes({ channels, height, width, classes, ...numbered('filters', filters) })
  const m = new ModelWriter(seed)
  let x = 'x'
  let shape = [channels, height, width]
  for (const [i, maps] of filters.entries()) {
    const [from = 0, rows = 0, columns = 0] = shape
    const weight = m.uniform(`stage${i}.weight`, [maps, from, 3, 3], heBound(9 * from))
    const pads = [1, 1, 1, 1]
    x = m.add('Conv', [x, weight], { kernel_shape: [3, 3], strides: [1, 1], dilations: [1, 1], pads, group: 1 })
    x = m.add('Relu', [groupNorm(m, `stage${i}.norm`, x, [maps, rows, columns])])
    x = m.add('MaxPool', [x], { kernel_shape: [2, 2], strides: [2, 2] })
    shape = [maps, Math.floor(rows / 2), Math.floor(columns / 2)]
    if (product(shape) === 0) {
      throw invalid(
        `Cannot make a model: a picture must keep a pixel after ${filters.length} halvings, got ${height} × ${width}`,
      )
    }
  }
  const flat = drop(m, m.add('Flatten', [x], { axis: 1 }), dropout)
  const logits = dense(m, 'head', flat, product(shape), classes, xavierBound(product(shape), classes))
  return m.finish(
    { name: 'x', dtype: 'float32', shape: [channels, height, width] },
    { name: 'logits', value: logits, shape: [classes] },
    `Convolutional network, filters ${filters.join('-')}`,
  )
}

export interface TransformerOptions {
  /** Tokens are from 0 up to, but not, this. */
  vocabulary: number
  /** Tokens per sample. */
  context: number
  /** Numbers per token; a multiple of `heads`. */
  width: number
  heads: number
  layers: number
  /** Share of each block's results that is dropped in training. */
  dropout?: number
  seed?: number
}

/**
 * A language model like GPT-2: blocks of LayerNorm, causal attention and Gelu with residuals, one embedding for both
 * ends. `tokens` int32 [N, context] → `logits` float32 [N, context, vocabulary], of the token after each, untrained.
 * Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
 */
export function newTransformer(options: TransformerOptions): Bytes {
  const { vocabulary, context, width, heads, layers, dropout = 0, seed = 0 } = options
  checkSizes({ vocabulary, context, width, heads, layers })
  if (width % heads !== 0) {
    throw invalid(`Cannot make a model: width must be a multiple of ${heads} heads, got ${width}`)
  }
  const m = new ModelWriter(seed)
  // A standard deviation of 0.02, as uniform numbers have it.
  const small = 0.02 * Math.sqrt(3)
  const embedding = m.uniform('embedding', [vocabulary, width], small)
  const positions = m.uniform('positions', [context, width], small)
  const before = range(context * context).map((i) => i % context <= Math.floor(i / context))
  const shared = {
    causal: m.constant('causal', Tensor.from('bool', [context, context], before)),
    masked: m.constant('masked', Tensor.from('float32', [], [-1e9])),
    perHead: m.constant('perHead', Tensor.from('int64', [4], [0, context, heads, width / heads])),
    perToken: m.constant('perToken', Tensor.from('int64', [3], [0, context, width])),
    scale: m.constant('scale', Tensor.from('float32', [], [1 / Math.sqrt(width / heads)])),
  }
  let x = m.add('Add', [m.add('Gather', [embedding, 'tokens'], { axis: 0 }), positions])
  for (const i of range(layers)) {
    // What is added to the residual stream starts small, so that its sum over all layers does not grow with depth.
    const project = (name: string, from: Name, rows: number) =>
      drop(m, linear(m, name, from, rows, width, xavierBound(rows, width) / Math.sqrt(2 * layers)), dropout)
    const attended = attention(m, `block${i}.attention`, layerNorm(m, `block${i}.norm0`, x, width), width, shared)
    x = m.add('Add', [x, project(`block${i}.attention.output`, attended, width)])
    const normal = layerNorm(m, `block${i}.norm1`, x, width)
    const wide = linear(m, `block${i}.hidden`, normal, width, 4 * width, xavierBound(width, 4 * width))
    x = m.add('Add', [x, project(`block${i}.output`, m.add('Gelu', [wide]), 4 * width)])
  }
  const tied = m.add('Transpose', [embedding], { perm: [1, 0] })
  const logits = m.add('MatMul', [layerNorm(m, 'norm', x, width), tied])
  return m.finish(
    { name: 'tokens', dtype: 'int32', shape: [context] },
    { name: 'logits', value: logits, shape: [context, vocabulary] },
    `Transformer of ${layers} layers, ${heads} heads, width ${width}`,
  )
}

interface AttentionConstants {
  causal: Name
  masked: Name
  perHead: Name
  perToken: Name
  scale: Name
}

/** Scaled dot-product attention to the tokens up to each (Vaswani et al. 2017), before its output projection. */
function attention(m: ModelWriter, name: string, x: Name, width: number, shared: AttentionConstants): Name {
  const all = linear(m, name, x, width, 3 * width, xavierBound(width, width))
  const [query, key, value] = m.addAll('Split', [all], 3, { axis: -1, num_outputs: 3 }).map((part, i) => {
    return m.add('Transpose', [m.add('Reshape', [part, shared.perHead])], {
      perm: i === 1 ? [0, 2, 3, 1] : [0, 2, 1, 3],
    })
  })
  const scores = m.add('Mul', [m.add('MatMul', [query ?? '', key ?? '']), shared.scale])
  const weights = m.add('Softmax', [m.add('Where', [shared.causal, scores, shared.masked])], { axis: -1 })
  const mixed = m.add('Transpose', [m.add('MatMul', [weights, value ?? ''])], { perm: [0, 2, 1, 3] })
  return m.add('Reshape', [mixed, shared.perToken])
}

/** A dense layer on rows. */
function dense(m: ModelWriter, name: string, x: Name, rows: number, columns: number, bound: number): Name {
  return m.add('Gemm', [x, m.uniform(`${name}.weight`, [rows, columns], bound), m.filled(`${name}.bias`, [columns], 0)])
}

/** A dense layer on the last of several axes. */
function linear(m: ModelWriter, name: string, x: Name, rows: number, columns: number, bound: number): Name {
  const product = m.add('MatMul', [x, m.uniform(`${name}.weight`, [rows, columns], bound)])
  return m.add('Add', [product, m.filled(`${name}.bias`, [columns], 0)])
}

function layerNorm(m: ModelWriter, name: string, x: Name, width: number): Name {
  const [scale, bias] = [m.filled(`${name}.scale`, [width], 1), m.filled(`${name}.bias`, [width], 0)]
  return m.add('LayerNormalization', [x, scale, bias], { axis: -1, epsilon: { float: 1e-5 } })
}

/** One group over all channels, written with operators that have GPU kernels. */
function groupNorm(
  m: ModelWriter,
  name: string,
  x: Name,
  [channels = 0, rows = 0, columns = 0]: readonly number[],
): Name {
  const apart = m.constant(`${name}.apart`, Tensor.from('int64', [3], [0, 1, channels * rows * columns]))
  const whole = m.constant(`${name}.whole`, Tensor.from('int64', [4], [0, channels, rows, columns]))
  // Of Constant nodes, not initializers: they are not learned.
  const [one, zero] = [1, 0].map((value) => m.add('Constant', [], { value: Tensor.from('float32', [1], [value]) }))
  const normal = m.add('InstanceNormalization', [m.add('Reshape', [x, apart]), one ?? '', zero ?? ''])
  const scale = m.filled(`${name}.scale`, [channels, 1, 1], 1)
  const bias = m.filled(`${name}.bias`, [channels, 1, 1], 0)
  return m.add('Add', [m.add('Mul', [m.add('Reshape', [normal, whole]), scale]), bias])
}

function drop(m: ModelWriter, x: Name, ratio: number): Name {
  if (ratio === 0) return x
  const name = `${x}.ratio`
  return m.add('Dropout', [x, m.constant(name, Tensor.from('float32', [], [ratio]))])
}

function checkSizes(sizes: Readonly<Record<string, number>>): void {
  for (const [name, size] of Object.entries(sizes)) {
    if (Number.isSafeInteger(size) && size > 0) continue
    throw invalid(`Cannot make a model: ${name} must be a whole number from 1 up, got ${size}`)
  }
}

function numbered(name: string, sizes: readonly number[]): Record<string, number> {
  return Object.fromEntries(sizes.map((size, i) => [`${name}[${i}]`, size]))
}
