import type { Builder } from './builder.ts'
import type { GradientRule } from './gradients.ts'
import { range } from './graph.ts'
import { perChannel } from './lower_layers.ts'

export const layerGradients = {
  Softmax: (b, n, dy) => {
    const weighted = b.mul(dy, n.y)
    return [b.sub(weighted, b.mul(n.y, b.sum(weighted, [n.int('axis')])))]
  },
  LayerNormalization: (b, n, dy) => {
    const axes = range(b.shape(n.x).length).slice(n.int('axis'))
    const { dx, normal } = normalization(b, n.x, b.mul(dy, n.w), axes, n.float('epsilon'))
    return [dx, b.sumLike(b.mul(dy, normal), n.w), n.bias && b.sumLike(dy, n.bias)]
  },
  InstanceNormalization: (b, n, dy) => {
    const rank = b.shape(n.x).length
    const scaled = b.mul(dy, perChannel(b, n.w, n.x))
    const { dx, normal } = normalization(b, n.x, scaled, range(rank).slice(2), n.float('epsilon'))
    const overRest = (x: string) => b.reshape(b.sum(x, [0, ...range(rank).slice(2)]), b.shape(n.w))
    return [dx, overRest(b.mul(dy, normal)), overRest(dy)]
  },
} satisfies Record<string, GradientRule>

/**
 * The gradient through x̂ = (x − mean) / √(variance + ε), statistics over `axes`: (ĝ − mean ĝ − x̂ · mean(ĝ x̂)) / √(…).
 * @param g gradient of x̂
 */
function normalization(b: Builder, x: string, g: string, axes: readonly number[], epsilon: number) {
  const centered = b.sub(x, b.mean(x, axes))
  const variance = b.mean(b.mul(centered, centered), axes)
  const inverse = b.unary('Reciprocal', b.unary('Sqrt', b.add(variance, epsilon)))
  const normal = b.mul(centered, inverse)
  const along = b.mul(normal, b.mean(b.mul(g, normal), axes))
  return { dx: b.mul(inverse, b.sub(b.sub(g, b.mean(g, axes)), along)), normal }
}
