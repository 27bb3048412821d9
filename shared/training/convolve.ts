import type { Builder } from './builder.ts'
import { at } from './graph.ts'

/** How a window moves over pictures. Sizes are [vertical, horizontal], pads [top, left, bottom, right]. */
export interface Moves {
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  readonly pads: readonly number[]
  readonly group: number
}

/**
 * x [N, C, H, W] * w [M, C/group, kh, kw] + bias [M] → [N, M, H', W'].
 *
 * Around two faults of ONNX Runtime 1.30 on WebGPU, which give wrong numbers without an error: without groups, input
 * channels that are a multiple of 3 but not of 4, beyond 3, into outputs that are a multiple of 4; with groups, more than
 * 4 outputs per group that are no multiple of 4. Channels of zeros are added there.
 */
export function convolve(b: Builder, x: string, w: string, bias: string | undefined, moves: Moves): string {
  const [rows = 0, channels = 0, ...picture] = b.shape(x)
  const [outputs = 0, , ...kernel] = b.shape(w)
  const { group } = moves
  const out = picture.map((size, i) => {
    const reach = (at(kernel, i) - 1) * at(moves.dilations, i) + 1
    return Math.floor((size + at(moves.pads, i) + at(moves.pads, i + 2) - reach) / at(moves.strides, i)) + 1
  })
  const each = outputs / group
  if (group > 1 && each > 4 && each % 4 !== 0) {
    const wide = convolve(b, x, fillGroups(b, w, group, roundUp(each)), undefined, moves)
    return addBias(b, cutGroups(b, wide, group, each), bias)
  }
  if (group === 1 && channels > 3 && channels % 3 === 0 && channels % 4 !== 0 && outputs % 4 === 0) {
    return convolve(b, lengthen(b, x, 1, roundUp(channels)), lengthen(b, w, 1, roundUp(channels)), bias, moves)
  }
  const inputs = [x, w, ...(bias === undefined ? [] : [bias])]
  const type = { dtype: b.dtype(x), shape: [rows, outputs, ...out] }
  return b.emit('Conv', inputs, type, { kernel_shape: kernel, ...moves })
}

/**
 * The transpose of a convolution: x [N, C, H, W], w [C, M/group, kh, kw], bias [M] → [N, M, H', W'].
 *
 * Around a third fault of the same kind: with groups of one output and an even number of inputs, an output of zeros is
 * added to each.
 * @param outputPadding rows and columns at the end that no window reaches
 */
export function convolveTransposed(
  b: Builder,
  x: string,
  w: string,
  bias: string | undefined,
  moves: Moves & { readonly outputPadding: readonly number[] },
): string {
  const { outputPadding: output_padding, ...rest } = moves
  const { group, strides, dilations, pads } = rest
  const [rows = 0, channels = 0, ...picture] = b.shape(x)
  const [, each = 0, ...kernel] = b.shape(w)
  if (group > 1 && each === 1 && (channels / group) % 2 === 0) {
    const wide = convolveTransposed(b, x, lengthen(b, w, 1, 2), undefined, moves)
    return addBias(b, cutGroups(b, wide, group, 1), bias)
  }
  const out = picture.map((size, i) => {
    const reach = (at(kernel, i) - 1) * at(dilations, i) + 1
    return (size - 1) * at(strides, i) + reach + at(output_padding, i) - at(pads, i) - at(pads, i + 2)
  })
  const inputs = [x, w, ...(bias === undefined ? [] : [bias])]
  const type = { dtype: b.dtype(x), shape: [rows, each * group, ...out] }
  return b.emit('ConvTranspose', inputs, type, { kernel_shape: kernel, ...rest, output_padding })
}

function roundUp(size: number): number {
  return Math.ceil(size / 4) * 4
}

function addBias(b: Builder, y: string, bias: string | undefined): string {
  return bias === undefined ? y : b.add(y, b.reshape(bias, [b.size(bias, 0), 1, 1]))
}

/** Zeros at the end of an axis. */
function lengthen(b: Builder, x: string, axis: number, size: number): string {
  const shape = b.shape(x)
  const none = shape.map(() => 0)
  return b.pad(x, none, none.with(axis, size - at(shape, axis)))
}

/** Filters of zeros at the end of each group. @param each filters per group afterwards */
function fillGroups(b: Builder, w: string, group: number, each: number): string {
  const [filters = 0, ...rest] = b.shape(w)
  const apart = b.reshape(w, [group, filters / group, ...rest])
  return b.reshape(lengthen(b, apart, 1, each), [group * each, ...rest])
}

/** The first `each` channels of each group. */
function cutGroups(b: Builder, y: string, group: number, each: number): string {
  const [rows = 0, channels = 0, ...picture] = b.shape(y)
  const apart = b.reshape(y, [rows, group, channels / group, ...picture])
  const kept = b.slice(apart, b.shape(apart).map(() => 0), [rows, group, each, ...picture])
  return b.reshape(kept, [rows, group * each, ...picture])
}
