import { product, Tensor } from '../wire/tensor.ts'
import type { Builder } from './builder.ts'
import type { GradientRule } from './gradients.ts'
import { at, range } from './graph.ts'

export const layoutGradients = {
  Reshape: (b, n, dy) => [b.reshape(dy, b.shape(n.x))],
  Expand: (b, n, dy) => [b.sumLike(dy, n.x)],
  Transpose: (b, n, dy) => {
    const perm = n.ints('perm')
    return [b.transpose(dy, perm.map((_, axis) => perm.indexOf(axis)))]
  },
  Concat: (b, n, dy) => b.split(dy, n.int('axis'), n.inputs.map((x) => b.size(x, n.int('axis')))),
  Split: (b, n, _, dys) => [
    b.concat(n.outputs.map((part, i) => dys[i] ?? b.expand(b.scalar(0, b.dtype(part)), b.shape(part))), n.int('axis')),
  ],
  Slice: (b, n, dy) => {
    const starts = n.ints('starts')
    const after = b.shape(n.x).map((size, axis) => size - at(starts, axis) - b.size(dy, axis))
    return [b.pad(dy, starts, after)]
  },
  Pad: (b, n, dy) => {
    const [shape, mode] = [b.shape(n.x), n.text('mode')]
    const before = n.ints('pads').slice(0, shape.length)
    if (mode === 'constant') return [b.slice(dy, before, shape)]
    const source = mode === 'edge' ? edge : mirror
    return [shape.reduce((gradient, size, axis) => {
      const positions = range(b.size(gradient, axis)).map((to) => source(to - at(before, axis), size))
      return scatterAxis(b, gradient, axis, size, positions)
    }, dy)]
  },
  /** By a product with a one-hot matrix: each sum is taken in the same order every time. */
  Gather: (b, n, dy) => {
    const axis = n.int('axis')
    const [shape, indices] = [b.shape(n.x), b.constants.get(n.w)]
    const count = product(b.shape(n.w))
    const rows = b.reshape(dy, [...shape.slice(0, axis), count, ...shape.slice(axis + 1)])
    if (indices) return [scatterAxis(b, rows, axis, at(shape, axis), Array.from(indices.data as Int32Array))]
    const position = b.reshape(fromFront(b, n.w, at(shape, axis)), [1, count])
    const ids = b.constant(Tensor.from('int32', [at(shape, axis), 1], range(at(shape, axis))))
    return [addRows(b, rows, axis, b.cast(b.compare('Equal', ids, position), b.dtype(dy)))]
  },
} satisfies Record<string, GradientRule>

/**
 * Gather's rule for large vocabularies: faster by far, but on a GPU sums are taken in no fixed order, so that equal
 * steps may differ in their last bits. Along other axes than the first it does as the exact rule.
 */
export const scatterGather: GradientRule = (b, n, dy) => {
  const shape = b.shape(n.x)
  if (n.int('axis') !== 0 || b.constants.has(n.w)) return layoutGradients.Gather(b, n, dy)
  const [count, width] = [product(b.shape(n.w)), product(shape.slice(1))]
  const rows = b.reshape(dy, [count, width])
  const indices = b.expand(b.reshape(fromFront(b, n.w, at(shape, 0)), [count, 1]), [count, width])
  const zeros = b.expand(b.scalar(0, b.dtype(dy)), [at(shape, 0), width])
  const sum = b.emit('ScatterElements', [zeros, indices, rows], b.type(zeros), { axis: 0, reduction: 'add' })
  return [b.reshape(sum, shape)]
}

/** Indices from −size to size − 1 as ones from 0 up. */
function fromFront(b: Builder, indices: string, size: number): string {
  return b.where(b.compare('Less', indices, 0), b.add(indices, size), indices)
}

/** The inverse of picking `positions` along an axis of `size`: adds each slice back to where it was taken. */
function scatterAxis(b: Builder, picked: string, axis: number, size: number, positions: readonly number[]): string {
  const rows = positions.map((position) => position < 0 ? position + size : position)
  const first = at(rows, 0)
  if (rows.every((row, i) => row === first + i)) {
    const only = (value: number) => b.shape(picked).map((_, i) => i === axis ? value : 0)
    return b.pad(picked, only(first), only(size - first - rows.length))
  }
  const oneHot = new Float64Array(size * rows.length)
  for (const [i, row] of rows.entries()) oneHot[row * rows.length + i] = 1
  const dtype = b.dtype(picked)
  return addRows(b, picked, axis, b.constant(Tensor.from(dtype, [size, rows.length], oneHot)))
}

/** Σᵢ oneHot[row, i] · picked[…, i, …] along an axis. */
function addRows(b: Builder, picked: string, axis: number, oneHot: string): string {
  const shape = b.shape(picked)
  const [before, after] = [shape.slice(0, axis), shape.slice(axis + 1)]
  const cube = [...(product(before) === 1 ? [] : [product(before)]), at(shape, axis), product(after)]
  return b.reshape(b.matmul(oneHot, b.reshape(picked, cube)), [...before, b.size(oneHot, 0), ...after])
}

/** Where an element outside an axis was copied from. */
function edge(position: number, size: number): number {
  return Math.min(Math.max(position, 0), size - 1)
}
function mirror(position: number, size: number): number {
  if (size === 1) return 0
  const period = 2 * (size - 1)
  const within = ((position % period) + period) % period
  return within < size ? within : period - within
}
