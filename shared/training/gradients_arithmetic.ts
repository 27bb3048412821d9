import { product } from '../wire/tensor.ts'
import type { Builder } from './builder.ts'
import type { GradientRule } from './gradients.ts'
import type { GraphNode } from './graph.ts'
import { sign } from './lower_arithmetic.ts'

/** Nothing flows back: the value is a step function, or a constant by decision. */
const none: GradientRule = () => []

export const arithmeticGradients = {
  Add: (b, n, dy) => n.inputs.map((x) => b.sumLike(dy, x)),
  Sub: (b, n, dy) => [b.sumLike(dy, n.x), b.neg(b.sumLike(dy, n.w))],
  Mul: (b, n, dy) => [b.sumLike(b.mul(dy, n.w), n.x), b.sumLike(b.mul(dy, n.x), n.w)],
  Div: (b, n, dy) => {
    const dx = b.div(dy, n.w)
    return [b.sumLike(dx, n.x), b.neg(b.sumLike(b.mul(dx, n.y), n.w))]
  },
  Pow: (b, n, dy) => {
    const exponent = b.constants.get(n.w)
    if (exponent?.size === 1) {
      const p = Number(exponent.data[0])
      return [b.sumLike(b.mul(b.mul(dy, p), power(b, n.x, p - 1)), n.x)]
    }
    const dx = b.mul(b.mul(dy, n.w), b.binary('Pow', n.x, b.sub(n.w, 1)))
    return [b.sumLike(dx, n.x), b.sumLike(b.mul(b.mul(dy, n.y), b.unary('Log', n.x)), n.w)]
  },
  Neg: (b, _, dy) => [b.neg(dy)],
  Abs: (b, n, dy) => [b.mul(dy, sign(b, n.x))],
  Exp: (b, n, dy) => [b.mul(dy, n.y)],
  Log: (b, n, dy) => [b.div(dy, n.x)],
  // At 0 it is finite, so that the gradient of a norm is 0 there, not 0 · ∞.
  Sqrt: (b, n, dy) => [b.div(b.mul(dy, 0.5), b.clip(n.y, TINY))],
  Reciprocal: (b, n, dy) => [b.neg(b.mul(dy, b.mul(n.y, n.y)))],
  Sin: (b, n, dy) => [b.mul(dy, b.unary('Cos', n.x))],
  Cos: (b, n, dy) => [b.neg(b.mul(dy, b.unary('Sin', n.x)))],
  Relu: (b, n, dy) => [b.mul(dy, b.step(n.y))],
  LeakyRelu: (b, n, dy) => {
    const alpha = n.float('alpha')
    return [b.mul(dy, b.add(b.mul(b.step(n.x), 1 - alpha), alpha))]
  },
  Tanh: (b, n, dy) => [b.mul(dy, b.sub(1, b.mul(n.y, n.y)))],
  Sigmoid: (b, n, dy) => [b.mul(dy, b.mul(n.y, b.sub(1, n.y)))],
  // 2/√π · e^−x²
  Erf: (b, n, dy) => [b.mul(dy, b.mul(b.unary('Exp', b.neg(b.mul(n.x, n.x))), 2 / Math.sqrt(Math.PI)))],
  // What is kept is what was within the bounds.
  Clip: (b, n, dy) => [b.mul(dy, b.sub(1, b.step(b.unary('Abs', b.sub(n.x, n.y)))))],
  Cast: (b, n, dy) => [b.isFloat(n.x) ? b.cast(dy, b.dtype(n.x)) : undefined],
  Where: (b, n, dy) => {
    const [condition, left, right] = [n.x, n.w, n.bias ?? '']
    return [undefined, b.sumLike(b.where(condition, dy, 0), left), b.sumLike(b.where(condition, 0, dy), right)]
  },

  ReduceSum: (b, n, dy) => [b.expand(dy, b.shape(n.x))],
  ReduceMean: (b, n, dy) => {
    const count = n.ints('axes').reduce((total, axis) => total * b.size(n.x, axis), 1)
    return [b.expand(b.div(dy, count), b.shape(n.x))]
  },
  // Those that share the maximum share its gradient.
  Max: (b, n, dy) => share(b, n, dy, b.sub(n.x, n.w)),
  Min: (b, n, dy) => share(b, n, dy, b.sub(n.w, n.x)),
  ReduceMax: (b, n, dy) => {
    const isMax = b.sub(1, b.step(b.sub(n.y, n.x)))
    return [b.mul(isMax, b.div(dy, b.sum(isMax, n.ints('axes'))))]
  },

  MatMul: (b, n, dy) => {
    if (b.shape(n.w).length > 2) {
      return [b.sumLike(b.matmul(dy, b.swap(n.w)), n.x), b.sumLike(b.matmul(b.swap(n.x), dy), n.w)]
    }
    // One product over all rows, instead of one per matrix to be summed afterwards.
    const rows = flat(b, dy)
    return [b.reshape(b.gemm(rows, n.w, { transB: 1 }), b.shape(n.x)), b.gemm(flat(b, n.x), rows, { transA: 1 })]
  },
  Gemm: (b, n, dy) => {
    const [alpha, transA, transB] = [n.float('alpha'), n.int('transA'), n.int('transB')]
    const dx = transA
      ? b.gemm(n.w, dy, { transA: transB, transB: 1, alpha })
      : b.gemm(dy, n.w, { transB: 1 - transB, alpha })
    const dw = transB
      ? b.gemm(dy, n.x, { transA: 1, transB: transA, alpha })
      : b.gemm(n.x, dy, { transA: 1 - transA, alpha })
    return [dx, dw, n.bias && b.mul(b.sumLike(dy, n.bias), n.float('beta'))]
  },

  StopGradient: none,
  Floor: none,
  Ceil: none,
  Round: none,
} satisfies Record<string, GradientRule>

/** Below the root of anything that is not 0 in practice, yet its inverse is finite in float32. */
const TINY = 1e-30

/** All to the left operand where it leads, half where both are equal. */
function share(b: Builder, n: GraphNode, dy: string, lead: string): string[] {
  const left = b.mul(b.add(sign(b, lead), 1), 0.5)
  return [b.sumLike(b.mul(dy, left), n.x), b.sumLike(b.mul(dy, b.sub(1, left)), n.w)]
}

function power(b: Builder, x: string, exponent: number): string | number {
  if (exponent === 0) return 1
  if (exponent === 1) return x
  return b.binary('Pow', x, exponent)
}

/** All rows of a batch of matrices in one. */
function flat(b: Builder, x: string): string {
  const columns = b.size(x, -1)
  return b.reshape(x, [product(b.shape(x).slice(0, -1)), columns])
}
