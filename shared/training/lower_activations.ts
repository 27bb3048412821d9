import type { Builder } from './builder.ts'
import type { Lowering } from './lower.ts'

/**
 * log(1 + eˣ) as m + log(eˣ⁻ᵐ + e⁻ᵐ), m = max(x, 0) held constant: nothing overflows, and the gradient is the sigmoid
 * everywhere, at 0 too.
 */
export function softplus(b: Builder, x: string): string {
  const m = b.stop(b.unary('Relu', x))
  return b.add(b.unary('Log', b.add(b.unary('Exp', b.sub(x, m)), b.unary('Exp', b.neg(m)))), m)
}

/** α (e^min(x, 0) − 1) below zero. The minimum keeps the branch that is not taken from overflowing. */
function elu(b: Builder, x: string, alpha: number, scale = 1): string {
  const below = b.mul(b.sub(b.unary('Exp', b.clip(x, undefined, 0)), 1), alpha)
  return b.mul(b.add(b.unary('Relu', x), below), scale)
}

function hardSigmoid(b: Builder, x: string, alpha: number, beta: number): string {
  return b.clip(b.add(b.mul(x, alpha), beta), 0, 1)
}

/** Gaussian error linear units, exact and by their tanh approximation (Hendrycks and Gimpel 2016). */
function gelu(b: Builder, x: string, approximate: string): string {
  const gate = approximate === 'tanh'
    ? b.unary('Tanh', b.mul(b.add(x, b.mul(b.mul(x, b.mul(x, x)), 0.044715)), Math.SQRT2 / Math.sqrt(Math.PI)))
    : b.unary('Erf', b.mul(x, Math.SQRT1_2))
  return b.mul(b.mul(x, 0.5), b.add(gate, 1))
}

export const activations = {
  Relu: (b, n) => b.unary('Relu', n.input(0)),
  Tanh: (b, n) => b.unary('Tanh', n.input(0)),
  Sigmoid: (b, n) => b.unary('Sigmoid', n.input(0)),
  Erf: (b, n) => b.unary('Erf', n.input(0)),
  LeakyRelu: (b, n) => b.unary('LeakyRelu', n.input(0), { alpha: { float: n.float('alpha', 0.01) } }),
  PRelu: (b, n) => {
    const x = n.input(0)
    return b.add(b.unary('Relu', x), b.mul(b.clip(x, undefined, 0), n.input(1)))
  },
  ThresholdedRelu: (b, n) => b.mul(n.input(0), b.step(b.sub(n.input(0), n.float('alpha', 1)))),
  Elu: (b, n) => elu(b, n.input(0), n.float('alpha', 1)),
  Selu: (b, n) =>
    elu(b, n.input(0), n.float('alpha', 1.67326319217681884765625), n.float('gamma', 1.05070102214813232421875)),
  Celu: (b, n) => {
    const alpha = n.float('alpha', 1)
    return b.mul(elu(b, b.mul(n.input(0), 1 / alpha), 1), alpha)
  },
  Softplus: (b, n) => softplus(b, n.input(0)),
  Softsign: (b, n) => b.div(n.input(0), b.add(b.unary('Abs', n.input(0)), 1)),
  HardSigmoid: (b, n) => hardSigmoid(b, n.input(0), n.float('alpha', 0.2), n.float('beta', 0.5)),
  HardSwish: (b, n) => b.mul(n.input(0), hardSigmoid(b, n.input(0), 1 / 6, 0.5)),
  Mish: (b, n) => b.mul(n.input(0), b.unary('Tanh', softplus(b, n.input(0)))),
  Gelu: (b, n) => gelu(b, n.input(0), n.text('approximate', 'none')),
} satisfies Record<string, Lowering>
