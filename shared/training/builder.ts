import { type DType, DTYPES } from '../wire/dtype.ts'
import { RpcError } from '../wire/errors.ts'
import { product, Tensor } from '../wire/tensor.ts'
import {
  at,
  type Attributes,
  broadcastAxes,
  broadcastShapes,
  GraphNode,
  normalizeAxes,
  normalizeAxis,
  type Origin,
  range,
  sameShape,
  type TensorType,
} from './graph.ts'

/**
 * Outputs of one Split. A GPU may bind as few as 8 buffers to a shader, one of which is the input; ONNX Runtime's kernel
 * binds all of them at once.
 */
const MAX_PARTS = 7

/** The name of a value, or a number, which takes the dtype of the operand beside it. */
export type Operand = string | number

/**
 * Writes a graph node by node. Every method appends canonical nodes and returns the name of the result, whose shape and
 * dtype it knows at once; so what is built later can ask for them, and mistakes show where they are made.
 */
export class Builder {
  readonly nodes: GraphNode[] = []
  readonly inputs: { readonly name: string; readonly type: TensorType }[] = []
  readonly constants = new Map<string, Tensor>()
  /** The node of the user's model that is being translated. */
  origin: Origin = { op: '', name: '' }
  readonly #types = new Map<string, TensorType>()
  readonly #scalars = new Map<string, string>()
  #named = 0

  type(name: string): TensorType {
    const type = this.#types.get(name)
    if (!type) throw new RpcError('internal', `Cannot build the step graph: there is no value "${name}"`)
    return type
  }
  shape(name: string): readonly number[] {
    return this.type(name).shape
  }
  dtype(name: string): DType {
    return this.type(name).dtype
  }
  /** The size of an axis, which may count from the end. */
  size(name: string, axis: number): number {
    const shape = this.shape(name)
    return at(shape, normalizeAxis(axis, shape.length))
  }
  isFloat(name: string): boolean {
    return isFloat(this.dtype(name))
  }

  input(name: string, dtype: DType, shape: readonly number[]): string {
    const type = { dtype, shape }
    this.inputs.push({ name, type })
    return this.#declare(name, type)
  }

  constant(tensor: Tensor): string {
    const name = this.#declare(this.#fresh('c'), tensor)
    this.constants.set(name, tensor)
    return name
  }

  scalar(value: number, dtype: DType): string {
    // Not as a Map key: 0 and −0 are one key.
    const key = `${dtype} ${Object.is(value, -0) ? '-0' : value}`
    const known = this.#scalars.get(key)
    if (known !== undefined) return known
    const name = this.constant(Tensor.from(dtype, [], [value]))
    this.#scalars.set(key, name)
    return name
  }

  /** A node of any canonical operator with one output. */
  emit(op: string, inputs: readonly string[], type: TensorType, attributes: Attributes = {}): string {
    return at(this.emitAll(op, inputs, [type], attributes), 0)
  }
  emitAll(op: string, inputs: readonly string[], types: readonly TensorType[], attributes: Attributes = {}): string[] {
    const outputs = types.map((type) => this.#declare(this.#fresh('v'), type))
    this.nodes.push(new GraphNode(op, inputs, outputs, attributes, this.origin))
    return outputs
  }

  /** An operator that keeps shape and dtype. */
  unary(op: string, x: string, attributes: Attributes = {}): string {
    return this.emit(op, [x], this.type(x), attributes)
  }
  /** An operator on two broadcast operands. @param dtype of the result; left out, that of the operands */
  binary(op: string, left: Operand, right: Operand, dtype?: DType): string {
    const [a, b] = this.#pair(left, right)
    return this.emit(op, [a, b], { dtype: dtype ?? this.dtype(a), shape: this.#together(op, a, b) })
  }
  add(a: Operand, b: Operand): string {
    return this.binary('Add', a, b)
  }
  sub(a: Operand, b: Operand): string {
    return this.binary('Sub', a, b)
  }
  mul(a: Operand, b: Operand): string {
    if (a === 1 && typeof b === 'string') return b
    return b === 1 && typeof a === 'string' ? a : this.binary('Mul', a, b)
  }
  div(a: Operand, b: Operand): string {
    return b === 1 && typeof a === 'string' ? a : this.binary('Div', a, b)
  }
  neg(x: string): string {
    return this.unary('Neg', x)
  }
  /** A boolean. @param op Equal, Less, LessOrEqual, Greater, GreaterOrEqual */
  compare(op: string, a: Operand, b: Operand): string {
    return this.binary(op, a, b, 'bool')
  }
  /** Within bounds. */
  clip(x: string, low: number | undefined, high?: number): string {
    const bound = (value: number | undefined) => value === undefined ? '' : this.scalar(value, this.dtype(x))
    return this.emit('Clip', [x, bound(low), bound(high)], this.type(x))
  }
  /**
   * 1 where x > 0, else 0. Not by a comparison: beside convolutions ONNX Runtime changes the order of axes on the way,
   * and it has no GPU kernel to do that with booleans.
   */
  step(x: string): string {
    return this.unary('Ceil', this.clip(x, 0, 1))
  }
  where(condition: string, left: Operand, right: Operand): string {
    const [a, b] = this.#pair(left, right)
    const shape = broadcastShapes(this.shape(condition), this.#together('Where', a, b))
    if (!shape) throw this.#misfit('Where', [condition, a, b])
    return this.emit('Where', [condition, a, b], { dtype: this.dtype(a), shape })
  }
  cast(x: string, dtype: DType): string {
    if (this.dtype(x) === dtype) return x
    return this.emit('Cast', [x], { dtype, shape: this.shape(x) }, { to: DTYPES[dtype].onnx })
  }
  /** The same value, through which no gradient flows. */
  stop(x: string): string {
    return this.unary('StopGradient', x)
  }

  /** Reductions over `axes` (all of them if left out), which stay with size 1. @param op ReduceSum, ReduceMean or ReduceMax */
  reduce(op: string, x: string, axes: readonly number[] = range(this.shape(x).length)): string {
    const { dtype, shape } = this.type(x)
    const over = normalizeAxes(axes, shape.length)
    if (over.length === 0) return x
    return this.emit(op, [x], { dtype, shape: shape.map((size, axis) => over.includes(axis) ? 1 : size) }, {
      axes: over,
    })
  }
  sum(x: string, axes?: readonly number[]): string {
    return this.reduce('ReduceSum', x, axes)
  }
  mean(x: string, axes?: readonly number[]): string {
    return this.reduce('ReduceMean', x, axes)
  }
  /** Undoes broadcasting: sums over the axes along which a value of shape `shape` was repeated. */
  sumTo(x: string, shape: readonly number[]): string {
    return this.reshape(this.sum(x, broadcastAxes(shape, this.shape(x))), shape)
  }
  sumLike(x: string, like: string): string {
    return this.sumTo(x, this.shape(like))
  }

  reshape(x: string, shape: readonly number[]): string {
    const { dtype, shape: from } = this.type(x)
    if (sameShape(from, shape)) return x
    if (product(from) !== product(shape)) throw this.#misfit(`Reshape to [${shape}]`, [x])
    return this.emit('Reshape', [x], { dtype, shape }, { shape })
  }
  expand(x: string, shape: readonly number[]): string {
    const { dtype, shape: from } = this.type(x)
    if (sameShape(from, shape)) return x
    return this.emit('Expand', [x], { dtype, shape }, { shape })
  }
  transpose(x: string, perm: readonly number[]): string {
    const { dtype, shape } = this.type(x)
    if (perm.every((axis, i) => axis === i)) return x
    return this.emit('Transpose', [x], { dtype, shape: perm.map((axis) => at(shape, axis)) }, { perm })
  }
  /** Swaps the last two axes. */
  swap(x: string): string {
    const rank = this.shape(x).length
    return this.transpose(x, [...range(rank - 2), rank - 1, rank - 2])
  }
  concat(parts: readonly string[], axis: number): string {
    const [first = ''] = parts
    if (parts.length === 1) return first
    const { dtype, shape } = this.type(first)
    const total = parts.reduce((sum, part) => sum + this.size(part, axis), 0)
    return this.emit('Concat', parts, { dtype, shape: shape.map((size, i) => i === axis ? total : size) }, { axis })
  }
  split(x: string, axis: number, sizes: readonly number[]): string[] {
    if (sizes.length === 1) return [x]
    const { dtype, shape } = this.type(x)
    if (sizes.length > MAX_PARTS) {
      let offset = 0
      return sizes.map((size) => {
        const starts = shape.map((_, i) => i === axis ? offset : 0)
        offset += size
        return this.slice(x, starts, shape.with(axis, size))
      })
    }
    const types = sizes.map((size) => ({ dtype, shape: shape.map((whole, i) => i === axis ? size : whole) }))
    return this.emitAll('Split', [x], types, { axis, split: sizes })
  }
  /** The block of shape `sizes` that begins at `starts`. */
  slice(x: string, starts: readonly number[], sizes: readonly number[]): string {
    const { dtype, shape } = this.type(x)
    if (sameShape(shape, sizes)) return x
    return this.emit('Slice', [x], { dtype, shape: sizes }, { starts, sizes })
  }
  /** @param before,after elements added at both ends of each axis; none negative */
  pad(x: string, before: readonly number[], after: readonly number[], value = 0, mode = 'constant'): string {
    const { dtype, shape } = this.type(x)
    if ([...before, ...after].every((size) => size === 0)) return x
    const padded = shape.map((size, axis) => size + at(before, axis) + at(after, axis))
    const inputs = mode === 'constant' ? [x, this.scalar(value, dtype)] : [x]
    return this.emit('Pad', inputs, { dtype, shape: padded }, { mode, pads: [...before, ...after] })
  }

  /** Matrix products over the last two axes; those before are broadcast. */
  matmul(a: string, b: string): string {
    const [left, right] = [this.shape(a), this.shape(b)]
    const lead = broadcastShapes(left.slice(0, -2), right.slice(0, -2))
    if (!lead || left.at(-1) !== right.at(-2)) throw this.#misfit('MatMul', [a, b])
    return this.emit('MatMul', [a, b], {
      dtype: this.dtype(a),
      shape: [...lead, this.size(a, -2), this.size(b, -1)],
    })
  }
  /** A product of two matrices, each perhaps transposed first. */
  gemm(a: string, b: string, { transA = 0, transB = 0, alpha = 1 } = {}): string {
    const shape = [this.size(a, transA ? 1 : 0), this.size(b, transB ? 0 : 1)]
    return this.emit('Gemm', [a, b], { dtype: this.dtype(a), shape }, {
      alpha: { float: alpha },
      beta: { float: 1 },
      transA,
      transB,
    })
  }

  /** Names of inputs are the user's choice, so one of ours may be taken. */
  #fresh(prefix: string): string {
    let name: string
    do name = `${prefix}${this.#named++}`
    while (this.#types.has(name))
    return name
  }

  #declare(name: string, { dtype, shape }: TensorType): string {
    if (this.#types.has(name)) throw new RpcError('internal', `Cannot build the step graph: "${name}" exists already`)
    this.#types.set(name, { dtype, shape })
    return name
  }

  #pair(a: Operand, b: Operand): [string, string] {
    if (typeof a === 'string') return [a, typeof b === 'string' ? b : this.scalar(b, this.dtype(a))]
    if (typeof b === 'string') return [this.scalar(a, this.dtype(b)), b]
    throw new RpcError('internal', 'Cannot build the step graph: one operand must be a value, got two numbers')
  }

  #together(op: string, a: string, b: string): readonly number[] {
    const shape = broadcastShapes(this.shape(a), this.shape(b))
    if (!shape || this.dtype(a) !== this.dtype(b)) throw this.#misfit(op, [a, b])
    return shape
  }

  #misfit(op: string, operands: readonly string[]): RpcError {
    const types = operands.map((name) => `${this.dtype(name)} [${this.shape(name)}]`).join(' and ')
    const { op: ofOp, name } = this.origin
    return new RpcError('internal', `Cannot build the step graph: ${op} does not take ${types} (at "${name}", ${ofOp})`)
  }
}

export function isFloat(dtype: DType): boolean {
  return dtype === 'float32' || dtype === 'float64'
}
