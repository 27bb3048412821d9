import { product, Tensor } from '../wire/tensor.ts'
import type { Builder } from './builder.ts'
import { at, normalizeAxis, range } from './graph.ts'
import type { Lowering } from './lower.ts'
import { logSumExp } from './lower_arithmetic.ts'
import type { SourceNode } from './source_node.ts'

/** Before opset 13 they saw a matrix, cut at `axis`, and summed over all of its columns. */
const overAxis = (apply: (b: Builder, x: string, axis: number) => string): Lowering => (b, n) => {
  const shape = n.inputShape(0)
  if (n.opset >= 13) return apply(b, n.input(0), normalizeAxis(n.int('axis', -1), shape.length))
  const axis = normalizeAxis(n.int('axis', 1), shape.length)
  const matrix = [product(shape.slice(0, axis)), product(shape.slice(axis))]
  return b.reshape(apply(b, b.reshape(n.input(0), matrix), 1), shape)
}

const EPSILON = 1e-5

export const layers = {
  Softmax: overAxis((b, x, axis) => b.unary('Softmax', x, { axis })),
  LogSoftmax: overAxis((b, x, axis) => b.sub(x, logSumExp(b, x, [axis]))),

  LayerNormalization: (b, n) => {
    const x = n.input(0)
    const inputs = [x, n.input(1), ...(n.has(2) ? [n.input(2)] : [])]
    return b.emit('LayerNormalization', inputs, b.type(x), {
      axis: normalizeAxis(n.int('axis', -1), b.shape(x).length),
      epsilon: { float: n.float('epsilon', EPSILON) },
    })
  },

  InstanceNormalization: (b, n) => instanceNorm(b, n.input(0), n.input(1), n.input(2), n.float('epsilon', EPSILON)),

  /** Each group is one channel of an instance normalization. */
  GroupNormalization: (b, n) => {
    const shape = n.inputShape(0)
    const [rows = 0, channels = 0] = shape
    const groups = n.int('num_groups', 1)
    const x = n.input(0)
    const grouped = b.reshape(x, [rows, groups, product(shape) / rows / groups])
    const dtype = b.dtype(x)
    const same = (value: number) => b.constant(Tensor.from(dtype, [groups], range(groups).map(() => value)))
    const normal = instanceNorm(b, grouped, same(1), same(0), n.float('epsilon', EPSILON))
    // Opset 18 has a scale per group, opset 21 one per channel.
    const perGroup = at(n.inputShape(1), 0) !== channels
    const scaled = affine(b, perGroup ? normal : b.reshape(normal, shape), n.input(1), n.input(2))
    return b.reshape(scaled, shape)
  },

  /** Frozen: the running statistics are constants, scale and bias learn. */
  BatchNormalization: (b, n) => {
    const x = n.input(0)
    const spread = b.unary('Sqrt', b.add(n.input(4), n.float('epsilon', EPSILON)))
    const centered = b.sub(x, perChannel(b, n.input(3), x))
    return affine(b, centered, b.div(n.input(1), spread), n.input(2))
  },

  /** In training it drops whatever `training_mode` says; the forward model itself stays as it is. */
  Dropout: (b, n) => {
    const x = n.input(0)
    const ratio = dropoutRatio(n)
    const mask = ratio > 0 ? n.dropoutMask(b.shape(x), ratio) : undefined
    return mask === undefined ? x : b.mul(x, mask)
  },
} satisfies Record<string, Lowering>

function dropoutRatio(n: SourceNode): number {
  const ratio = n.number('ratio', 1, 0.5)
  if (ratio >= 0 && ratio < 1) return ratio
  throw n.refuse('have a ratio from 0 up to, but not, 1', `${ratio}`, 'correct it')
}

function instanceNorm(b: Builder, x: string, scale: string, bias: string, epsilon: number): string {
  return b.emit('InstanceNormalization', [x, scale, bias], b.type(x), { epsilon: { float: epsilon } })
}

/** x · scale + bias, both given per channel (axis 1). */
function affine(b: Builder, x: string, scale: string, bias: string): string {
  return b.add(b.mul(x, perChannel(b, scale, x)), perChannel(b, bias, x))
}

/** A vector over channels in a shape that broadcasts to `like`. */
export function perChannel(b: Builder, values: string, like: string): string {
  return b.reshape(values, [at(b.shape(values), 0), ...b.shape(like).slice(2).map(() => 1)])
}
