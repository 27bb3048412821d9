import { dtypeOfOnnx, DTYPES } from '../wire/dtype.ts'
import type { Builder } from './builder.ts'
import { range } from './graph.ts'
import type { Lowering } from './lower.ts'

const unary = (op: string): Lowering => (b, n) => b.unary(op, n.input(0))
const binary = (op: string): Lowering => (b, n) => b.binary(op, n.input(0), n.input(1))
const compare = (op: string): Lowering => (b, n) => b.compare(op, n.input(0), n.input(1))
const test = (op: string): Lowering => (b, n) => b.emit(op, [n.input(0)], { dtype: 'bool', shape: n.shape() })

/** Folds any number of operands, two at a time. */
const fold = (join: (b: Builder, left: string, right: string) => string): Lowering => (b, n) =>
  n.inputs().reduce((left, right) => join(b, left, right))

/** A reduction over axes that stay, and then go if they should. @param input where opsets that have no attribute keep them */
const reduction = (input: number, reduce: (b: Builder, x: string, axes: readonly number[]) => string): Lowering => {
  return (b, n) => b.reshape(reduce(b, n.input(0), n.axes(input)), n.shape())
}

/** −1, 0 or 1, through which no gradient flows. */
export function sign(b: Builder, x: string): string {
  return b.sub(b.step(x), b.step(b.neg(x)))
}

/** The logarithm of Σ eˣ, its largest term taken out first so that nothing overflows. */
export function logSumExp(b: Builder, x: string, axes: readonly number[]): string {
  const largest = b.stop(b.reduce('ReduceMax', x, axes))
  return b.add(b.unary('Log', b.sum(b.unary('Exp', b.sub(x, largest)), axes)), largest)
}

export const arithmetic = {
  Add: binary('Add'),
  Sub: binary('Sub'),
  Mul: binary('Mul'),
  Div: binary('Div'),
  Pow: (b, n) => {
    const x = n.input(0)
    // The exponent may be of any type.
    if (n.inputShape(1).length > 0 || !n.isConstant(1)) return b.binary('Pow', x, b.cast(n.input(1), b.dtype(x)))
    return b.binary('Pow', x, n.scalar(1) ?? 1)
  },
  Sum: fold((b, x, y) => b.add(x, y)),
  Mean: (b, n) => b.div(n.inputs().reduce((x, y) => b.add(x, y)), n.inputCount),
  Max: fold((b, x, y) => b.binary('Max', x, y)),
  Min: fold((b, x, y) => b.binary('Min', x, y)),
  Neg: unary('Neg'),
  Abs: unary('Abs'),
  Exp: unary('Exp'),
  Log: unary('Log'),
  Sqrt: unary('Sqrt'),
  Reciprocal: unary('Reciprocal'),
  Sin: unary('Sin'),
  Cos: unary('Cos'),
  Floor: unary('Floor'),
  Ceil: unary('Ceil'),
  Round: unary('Round'),
  // Sign itself has no GPU kernel.
  Sign: (b, n) => sign(b, n.input(0)),
  Identity: (_b, n) => n.input(0),
  Clip: (b, n) => {
    const x = n.input(0)
    const isComputed = [1, 2].some((i) => n.has(i) && !n.isConstant(i))
    if (!isComputed) return b.clip(x, n.number('min', 1, undefined), n.number('max', 2, undefined))
    // Bounds that are computed take part in the gradient.
    const raised = n.has(1) ? b.binary('Max', x, n.input(1)) : x
    return n.has(2) ? b.binary('Min', raised, n.input(2)) : raised
  },
  Cast: (b, n) => {
    const dtype = dtypeOfOnnx(n.int('to', DTYPES.float32.onnx)) ?? 'float32'
    return b.cast(n.input(0), dtype === 'int64' ? 'int32' : dtype)
  },
  Where: (b, n) => b.where(n.input(0), n.input(1), n.input(2)),
  Equal: compare('Equal'),
  Less: compare('Less'),
  LessOrEqual: compare('LessOrEqual'),
  Greater: compare('Greater'),
  GreaterOrEqual: compare('GreaterOrEqual'),
  And: compare('And'),
  Or: compare('Or'),
  Xor: compare('Xor'),
  Not: test('Not'),
  IsNaN: test('IsNaN'),
  ReduceSum: reduction(1, (b, x, axes) => b.sum(x, axes)),
  ReduceMean: reduction(1, (b, x, axes) => b.mean(x, axes)),
  ReduceMax: reduction(1, (b, x, axes) => b.reduce('ReduceMax', x, axes)),
  ReduceMin: reduction(1, (b, x, axes) => b.neg(b.reduce('ReduceMax', b.neg(x), axes))),
  ReduceL1: reduction(1, (b, x, axes) => b.sum(b.unary('Abs', x), axes)),
  ReduceL2: reduction(1, (b, x, axes) => b.unary('Sqrt', b.sum(b.mul(x, x), axes))),
  ReduceSumSquare: reduction(1, (b, x, axes) => b.sum(b.mul(x, x), axes)),
  ReduceLogSum: reduction(1, (b, x, axes) => b.unary('Log', b.sum(x, axes))),
  ReduceLogSumExp: reduction(1, logSumExp),
  MatMul: (b, n) => {
    // A vector is a row on the left and a column on the right.
    const [left, right] = [n.inputShape(0), n.inputShape(1)]
    const a = b.reshape(n.input(0), left.length === 1 ? [1, ...left] : left)
    const c = b.reshape(n.input(1), right.length === 1 ? [...right, 1] : right)
    return b.reshape(b.matmul(a, c), n.shape())
  },
  Gemm: (b, n) => {
    const inputs = range(n.inputCount).filter((i) => n.has(i)).map((i) => n.input(i))
    return b.emit('Gemm', inputs, { dtype: b.dtype(n.input(0)), shape: n.shape() }, {
      alpha: { float: n.float('alpha', 1) },
      beta: { float: n.float('beta', 1) },
      transA: n.int('transA', 0),
      transB: n.int('transB', 0),
    })
  },
} satisfies Record<string, Lowering>
