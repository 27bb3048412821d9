import type { AttributeValue } from '../models/onnx_build.ts'
import type { DType } from '../wire/dtype.ts'
import { RpcError } from '../wire/errors.ts'

/** What is known of every value of a graph under construction: its size is fixed, the batch included. */
export interface TensorType {
  readonly dtype: DType
  readonly shape: readonly number[]
}

export type Attributes = Readonly<Record<string, AttributeValue>>

/** The node of the user's model that a node was made for; errors name it. */
export interface Origin {
  readonly op: string
  readonly name: string
}

/**
 * A node in canonical form. Its inputs are data alone: what ONNX passes as an int64 tensor (axes, shapes, pads, sizes)
 * is an attribute here, so that no rule meets an int64 value; write_graph.ts turns it back. Reductions keep their
 * axes, convolutions and pools are two-dimensional with explicit pads.
 */
export class GraphNode {
  readonly op: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: Attributes
  readonly origin: Origin

  constructor(
    op: string,
    inputs: readonly string[],
    outputs: readonly string[],
    attributes: Attributes,
    origin: Origin,
  ) {
    this.op = op
    this.inputs = inputs
    this.outputs = outputs
    this.attributes = attributes
    this.origin = origin
  }

  /** The first input, the second (often weights), the third (often a bias), and the first output. */
  get x(): string {
    return this.inputs[0] ?? ''
  }
  get w(): string {
    return this.inputs[1] ?? ''
  }
  /** Undefined where the node has none. */
  get bias(): string | undefined {
    return this.inputs[2] || undefined
  }
  get y(): string {
    return this.outputs[0] ?? ''
  }

  int(name: string): number {
    const value = this.attributes[name]
    return typeof value === 'number' ? value : this.#missing(name)
  }
  ints(name: string): readonly number[] {
    const value = this.attributes[name]
    return Array.isArray(value) ? value : this.#missing(name)
  }
  float(name: string): number {
    const value = this.attributes[name]
    return typeof value === 'object' && 'float' in value ? value.float : this.#missing(name)
  }
  text(name: string): string {
    const value = this.attributes[name]
    return typeof value === 'string' ? value : this.#missing(name)
  }

  #missing(name: string): never {
    throw new RpcError('internal', `Cannot build the step graph: a canonical ${this.op} must have "${name}"`)
  }
}

/** Element `index` of a list whose length the caller knows. */
export function at<T>(list: ArrayLike<T>, index: number): T {
  const value = list[index]
  if (value === undefined) {
    throw new RpcError('internal', `Cannot build the step graph: a list of ${list.length} has no element ${index}`)
  }
  return value
}

/** Axes counted from the front, in order. @param axes may count from the end (-1 is the last) */
export function normalizeAxes(axes: readonly number[], rank: number): number[] {
  return [...new Set(axes.map((axis) => normalizeAxis(axis, rank)))].sort((a, b) => a - b)
}

export function normalizeAxis(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis
}

/** 0, 1, …, count − 1 */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis])
}

/** The shape of two operands together, by ONNX's (NumPy's) rule; undefined if they do not fit. */
export function broadcastShapes(a: readonly number[], b: readonly number[]): readonly number[] | undefined {
  const rank = Math.max(a.length, b.length)
  const sizes: number[] = []
  for (let axis = 0; axis < rank; axis++) {
    const left = a[axis - rank + a.length] ?? 1
    const right = b[axis - rank + b.length] ?? 1
    if (left !== right && left !== 1 && right !== 1) return undefined
    sizes.push(left === 1 ? right : left)
  }
  return sizes
}

/** The axes along which a value of shape `from` was repeated to reach shape `to`. */
export function broadcastAxes(from: readonly number[], to: readonly number[]): number[] {
  const lead = to.length - from.length
  return range(to.length).filter((axis) => axis < lead || (from[axis - lead] === 1 && to[axis] !== 1))
}
