import { product, Tensor } from '../wire/tensor.ts'
import type { Builder } from './builder.ts'
import type { GradientRule } from './gradients.ts'
import { convolve } from './convolve.ts'
import { convInput } from './gradients_conv.ts'
import { at, type GraphNode, range } from './graph.ts'

/** Below every activation, yet finite: times 0 it is 0. */
const LOWEST = -1e30

export const poolGradients = {
  /** To the first of the largest elements of each window, in row-major order, as PyTorch does. */
  MaxPool: (b, n, dy) => {
    const [shape, kernel] = [b.shape(n.x), n.ints('kernel_shape')]
    const count = product(kernel)
    const moves = { strides: n.ints('strides'), dilations: n.ints('dilations'), pads: n.ints('pads'), group: 1 }
    const [top = 0, left = 0, bottom = 0, right = 0] = moves.pads
    const dtype = b.dtype(n.x)
    // One kernel per place in the window: each copies that place, so that a window's elements become channels.
    const copies = b.constant(Tensor.from(dtype, [count, 1, ...kernel], identity(count)))
    const padded = b.pad(singles(b, n.x), [0, 0, top, left], [0, 0, bottom, right], LOWEST)
    const windows = convolve(b, padded, copies, undefined, { ...moves, pads: [0, 0, 0, 0] })
    const order = b.constant(Tensor.from(dtype, [1, count, 1, 1], range(count).map((i) => count - i)))
    const isLargest = b.compare('Equal', windows, b.reduce('ReduceMax', windows, [1]))
    const first = b.reduce('ReduceMax', b.where(isLargest, order, 0), [1])
    const gradients = b.where(b.compare('Equal', order, first), singles(b, dy), 0)
    return [
      b.reshape(convInput(b, gradients, copies, [product(shape.slice(0, 2)), 1, ...shape.slice(2)], moves), shape),
    ]
  },
  AveragePool: (b, n, dy) => {
    const [shape, kernel] = [b.shape(n.x), n.ints('kernel_shape')]
    const moves = { strides: n.ints('strides'), dilations: [1, 1], pads: n.ints('pads'), group: 1 }
    const each = b.div(singles(b, dy), b.constant(windowSizes(b, n)))
    const ones = b.constant(Tensor.from(b.dtype(dy), [1, 1, ...kernel], range(product(kernel)).map(() => 1)))
    return [b.reshape(convInput(b, each, ones, [product(shape.slice(0, 2)), 1, ...shape.slice(2)], moves), shape)]
  },
} satisfies Record<string, GradientRule>

/** Every channel as a picture of its own: [N, C, H, W] → [N·C, 1, H, W]. */
function singles(b: Builder, x: string): string {
  const [rows = 0, channels = 0, ...picture] = b.shape(x)
  return b.reshape(x, [rows * channels, 1, ...picture])
}

/** A square matrix, row by row. */
function identity(size: number): number[] {
  return range(size * size).map((i) => i % (size + 1) === 0 ? 1 : 0)
}

/** What each window of an AveragePool divides by, [1, 1, H', W']: the padding counts only if it says so. */
function windowSizes(b: Builder, n: GraphNode): Tensor {
  const [strides, pads, kernel] = [n.ints('strides'), n.ints('pads'), n.ints('kernel_shape')]
  const whole = n.int('count_include_pad') === 1
  const [rows, columns] = [0, 1].map((i) => {
    const size = b.size(n.x, i + 2)
    return range(b.size(n.y, i + 2)).map((step) => {
      const from = step * at(strides, i) - at(pads, i)
      return whole ? at(kernel, i) : Math.min(from + at(kernel, i), size) - Math.max(from, 0)
    })
  })
  const sizes = (rows ?? []).flatMap((height) => (columns ?? []).map((width) => height * width))
  return Tensor.from(b.dtype(n.x), [1, 1, b.size(n.y, 2), b.size(n.y, 3)], sizes)
}
