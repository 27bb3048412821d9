import type { Builder } from './builder.ts'
import { convolve, convolveTransposed, type Moves } from './convolve.ts'
import type { Attributes } from './graph.ts'
import { at, range } from './graph.ts'
import type { Lowering } from './lower.ts'
import type { SourceNode } from './source_node.ts'

/** Pictures as they are; sequences [N, C, L] as pictures of height 1. */
function pictures(n: SourceNode): { up: (shape: readonly number[]) => number[]; sizes: SizesOf } {
  const { length } = n.inputShape(0)
  if (length !== 3 && length !== 4) {
    throw n.refuse('work on one or two spatial axes', `${length - 2}`, 'reshape volumes to pictures')
  }
  const isSequence = length === 3
  const up = (shape: readonly number[]) => isSequence ? [...shape.slice(0, 2), 1, ...shape.slice(2)] : [...shape]
  const sizes: SizesOf = (values, fill) => isSequence ? [fill, ...values] : [...values]
  return { up, sizes }
}
type SizesOf = (values: readonly number[], fill: number) => number[]

interface Window {
  kernel_shape: readonly number[]
  strides: readonly number[]
  dilations: readonly number[]
  /** [top, left, bottom, right] */
  pads: readonly number[]
}

/** Where the window lies, with what ONNX leaves implicit written out: `auto_pad`, and `ceil_mode` as padding at the end. */
function windowOf(n: SourceNode, kernel: readonly number[], sizes: SizesOf, picture: readonly number[]): Window {
  const kernelShape = sizes(kernel, 1)
  const ones = kernel.map(() => 1)
  const strides = sizes(n.ints('strides', ones), 1)
  const dilations = sizes(n.ints('dilations', ones), 1)
  const given = n.ints('pads', [...ones, ...ones].map(() => 0))
  const half = given.length / 2
  let begin = sizes(given.slice(0, half), 0)
  let end = sizes(given.slice(half), 0)
  const reach = kernelShape.map((size, i) => (size - 1) * at(dilations, i) + 1)
  const autoPad = n.text('auto_pad', 'NOTSET')
  if (autoPad.startsWith('SAME')) {
    const total = picture.map((size, i) => {
      const stride = at(strides, i)
      return Math.max(0, (Math.ceil(size / stride) - 1) * stride + at(reach, i) - size)
    })
    const smaller = total.map((size) => Math.floor(size / 2))
    const larger = total.map((size) => Math.ceil(size / 2))
    ;[begin, end] = autoPad === 'SAME_UPPER' ? [smaller, larger] : [larger, smaller]
  }
  if (n.int('ceil_mode', 0) === 1) {
    const steps = sizes(n.shape().slice(2), 1)
    end = end.map((size, i) => {
      const needed = (at(steps, i) - 1) * at(strides, i) + at(reach, i) - at(picture, i) - at(begin, i)
      return Math.max(size, needed)
    })
  }
  return { kernel_shape: kernelShape, strides, dilations, pads: [...begin, ...end] }
}

type Apply = (
  b: Builder,
  x: string,
  w: string,
  bias: string | undefined,
  moves: Moves,
  outputPadding: number[],
) => string

/** Either kind of convolution, once its picture and its moves are explicit. */
function convolution(apply: Apply): Lowering {
  return (b, n) => {
    const { up, sizes } = pictures(n)
    const [x, w] = [b.reshape(n.input(0), up(n.inputShape(0))), b.reshape(n.input(1), up(n.inputShape(1)))]
    const kernel = n.inputShape(1).slice(2)
    const { strides, dilations, pads } = windowOf(n, kernel, sizes, b.shape(x).slice(2))
    const outputPadding = sizes(n.ints('output_padding', kernel.map(() => 0)), 0)
    const moves = { strides, dilations, pads, group: n.int('group', 1) }
    return b.reshape(apply(b, x, w, n.has(2) ? n.input(2) : undefined, moves, outputPadding), n.shape())
  }
}

function pool(op: string, extra: (n: SourceNode, window: Window) => Attributes): Lowering {
  return (b, n) => {
    const { up, sizes } = pictures(n)
    const x = b.reshape(n.input(0), up(n.inputShape(0)))
    const window = windowOf(n, n.ints('kernel_shape', []), sizes, b.shape(x).slice(2))
    const y = b.emit(op, [x], { dtype: b.dtype(x), shape: up(n.shape()) }, extra(n, window))
    return b.reshape(y, n.shape())
  }
}

const overPicture = (reduce: (b: Builder, x: string, axes: number[]) => string): Lowering => (b, n) =>
  reduce(b, n.input(0), range(n.inputShape(0).length).slice(2))

export const convolutions = {
  Conv: convolution(convolve),
  ConvTranspose: convolution((b, x, w, bias, moves, outputPadding) =>
    convolveTransposed(b, x, w, bias, { ...moves, outputPadding })
  ),
  MaxPool: pool('MaxPool', (_, window) => ({ ...window })),
  // At opset 17 it has no dilations; they are all 1.
  AveragePool: pool('AveragePool', (n, { kernel_shape, strides, pads }) => (
    { kernel_shape, strides, pads, count_include_pad: n.int('count_include_pad', 0) }
  )),
  GlobalAveragePool: overPicture((b, x, axes) => b.mean(x, axes)),
  GlobalMaxPool: overPicture((b, x, axes) => b.reduce('ReduceMax', x, axes)),
} satisfies Record<string, Lowering>
