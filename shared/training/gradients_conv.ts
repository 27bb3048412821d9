import type { Builder } from './builder.ts'
import { convolve, convolveTransposed, type Moves } from './convolve.ts'
import type { GradientRule } from './gradients.ts'
import { at, type GraphNode } from './graph.ts'

export const convolutionGradients = {
  Conv: (b, n, dy) => {
    const moves = movesOf(n)
    const bias = n.bias && overPictures(b, dy)
    return [convInput(b, dy, n.w, b.shape(n.x), moves), convWeights(b, n.x, dy, b.shape(n.w), moves), bias]
  },
  // It is what a Conv with the same weights does to gradients, so the roles of x and dy are swapped.
  ConvTranspose: (b, n, dy) => {
    const moves = movesOf(n)
    const dx = b.slice(convolve(b, dy, n.w, undefined, moves), [0, 0, 0, 0], b.shape(n.x))
    return [dx, convWeights(b, dy, n.x, b.shape(n.w), moves), n.bias && overPictures(b, dy)]
  },
} satisfies Record<string, GradientRule>

function movesOf(n: GraphNode): Moves {
  return { strides: n.ints('strides'), dilations: n.ints('dilations'), pads: n.ints('pads'), group: n.int('group') }
}

/** Σ over rows and positions: the gradient of what is added per channel. */
function overPictures(b: Builder, dy: string): string {
  return b.reshape(b.sum(dy, [0, 2, 3]), [b.size(dy, 1)])
}

/** The gradient of a convolution's input, of shape `shape`: each output's gradient spread over its window. */
export function convInput(b: Builder, dy: string, w: string, shape: readonly number[], moves: Moves): string {
  const kernel = b.shape(w).slice(2)
  const outputPadding = kernel.map((size, i) => {
    const reach = (size - 1) * at(moves.dilations, i) + 1
    const covered = reach + (b.size(dy, i + 2) - 1) * at(moves.strides, i)
    return at(shape, i + 2) + at(moves.pads, i) + at(moves.pads, i + 2) - covered
  })
  return convolveTransposed(b, dy, w, undefined, { ...moves, outputPadding })
}

/**
 * The gradient of a convolution's weights, of shape `shape` [M, C/group, kh, kw]: itself a convolution, of x with dy as
 * its kernel, rows in the place of channels, stride and dilation swapped.
 */
function convWeights(b: Builder, x: string, dy: string, shape: readonly number[], moves: Moves): string {
  const { group, strides, dilations, pads } = moves
  const [rows = 0, channels = 0, height = 0, width = 0] = b.shape(x)
  const each = channels / group
  const byChannel = b.transpose(b.reshape(x, [rows, group, each, height, width]), [2, 1, 0, 3, 4])
  const pictures = b.reshape(byChannel, [each, group * rows, height, width])
  const kernels = b.transpose(dy, [1, 0, 2, 3])
  const all = convolve(b, pictures, kernels, undefined, { strides: dilations, dilations: strides, pads, group })
  // What a stride leaves over at the end shows as positions beyond the kernel.
  const [outputs = 0, , kernelHeight = 0, kernelWidth = 0] = shape
  return b.transpose(b.slice(all, [0, 0, 0, 0], [each, outputs, kernelHeight, kernelWidth]), [1, 0, 2, 3])
}
