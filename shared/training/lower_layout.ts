import { Tensor } from '../wire/tensor.ts'
import type { Builder } from './builder.ts'
import { at, normalizeAxis, range } from './graph.ts'
import type { Lowering } from './lower.ts'
import type { SourceNode } from './source_node.ts'

/** Sizes are known, so whatever keeps the elements' order is one Reshape. */
const reshape: Lowering = (b, n) => b.reshape(n.input(0), n.shape())

/** Picks constant positions along one axis. */
function pick(b: Builder, x: string, axis: number, positions: readonly number[]): string {
  return gather(b, x, b.constant(Tensor.from('int32', [positions.length], positions)), axis)
}

function gather(b: Builder, x: string, indices: string, axis: number): string {
  const { dtype, shape } = b.type(x)
  const taken = [...shape.slice(0, axis), ...b.shape(indices), ...shape.slice(axis + 1)]
  return b.emit('Gather', [x, indices], { dtype, shape: taken }, { axis })
}

export const layout = {
  Reshape: reshape,
  Flatten: reshape,
  Squeeze: reshape,
  Unsqueeze: reshape,
  Expand: (b, n) => b.expand(n.input(0), n.shape()),
  Transpose: (b, n) => {
    const { length } = n.inputShape(0)
    return b.transpose(n.input(0), n.ints('perm', range(length).reverse()))
  },
  Concat: (b, n) => b.concat(n.inputs(), normalizeAxis(n.int('axis', 0), n.shape().length)),
  Split: (b, n) => {
    const axis = normalizeAxis(n.int('axis', 0), n.inputShape(0).length)
    return b.split(n.input(0), axis, n.shapes().map((shape) => at(shape, axis)))
  },
  Slice: (b, n) => {
    const shape = n.inputShape(0)
    const starts = n.list('starts', 1) ?? []
    const axes = n.list('axes', 3) ?? range(starts.length)
    const steps = n.list('steps', 4) ?? starts.map(() => 1)
    const begin = shape.map(() => 0)
    const kept = [...shape]
    let x = n.input(0)
    for (const [i, unsigned] of axes.entries()) {
      const axis = normalizeAxis(unsigned, shape.length)
      const size = at(shape, axis)
      const step = at(steps, i)
      const from = clampStart(at(starts, i), size, step)
      const count = at(n.shape(), axis)
      if (step === 1) begin[axis] = from
      else x = pick(b, x, axis, range(count).map((to) => from + to * step))
      kept[axis] = count
    }
    return b.slice(x, begin, kept)
  },
  Pad: (b, n) => {
    const { length } = n.inputShape(0)
    const given = n.list('pads', 1) ?? []
    const axes = (n.list('axes', 3) ?? range(length)).map((axis) => normalizeAxis(axis, length))
    const before = spread(length, axes, given.slice(0, axes.length))
    const after = spread(length, axes, given.slice(axes.length))
    const mode = n.text('mode', 'constant')
    if (mode === 'wrap') return wrap(b, n, before)
    // Negative pads crop.
    const cropped = b.slice(
      n.input(0),
      before.map((size) => Math.max(0, -size)),
      n.inputShape(0).map((size, axis) => size + Math.min(0, at(before, axis)) + Math.min(0, at(after, axis))),
    )
    const positive = (sizes: readonly number[]) => sizes.map((size) => Math.max(0, size))
    return b.pad(cropped, positive(before), positive(after), n.number('value', 2, 0), mode)
  },
  Gather: (b, n) => gather(b, n.input(0), n.input(1), normalizeAxis(n.int('axis', 0), n.inputShape(0).length)),
  Tile: (b, n) => {
    const shape = n.inputShape(0)
    const repeats = n.shape().map((size, axis) => size / at(shape, axis))
    const apart = b.reshape(n.input(0), shape.flatMap((size) => [1, size]))
    return b.reshape(b.expand(apart, shape.flatMap((size, axis) => [at(repeats, axis), size])), n.shape())
  },
  DepthToSpace: (b, n) => {
    const [rows = 0, channels = 0, height = 0, width = 0] = n.inputShape(0)
    const block = n.int('blocksize', 1)
    const rest = channels / (block * block)
    const columnsFirst = n.text('mode', 'DCR') === 'CRD'
    const apart = columnsFirst ? [rows, rest, block, block, height, width] : [rows, block, block, rest, height, width]
    const perm = columnsFirst ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2]
    return b.reshape(b.transpose(b.reshape(n.input(0), apart), perm), n.shape())
  },
} satisfies Record<string, Lowering>

/** Where a slice begins: counted from the end if negative, and within the axis. */
function clampStart(start: number, size: number, step: number): number {
  const from = start < 0 ? start + size : start
  return step > 0 ? Math.min(Math.max(from, 0), size) : Math.min(Math.max(from, -1), size - 1)
}

function spread(rank: number, axes: readonly number[], sizes: readonly number[]): number[] {
  const all = range(rank).map(() => 0)
  for (const [i, axis] of axes.entries()) all[axis] = at(sizes, i)
  return all
}

function wrap(b: Builder, n: SourceNode, before: readonly number[]): string {
  return n.inputShape(0).reduce((x, size, axis) => {
    const padded = at(n.shape(), axis)
    if (padded === size) return x
    return pick(b, x, axis, range(padded).map((to) => (((to - at(before, axis)) % size) + size) % size))
  }, n.input(0))
}
