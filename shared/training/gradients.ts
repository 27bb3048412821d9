import type { Builder } from './builder.ts'
import { arithmeticGradients } from './gradients_arithmetic.ts'
import { convolutionGradients } from './gradients_conv.ts'
import { layerGradients } from './gradients_layers.ts'
import { layoutGradients } from './gradients_layout.ts'
import { poolGradients } from './gradients_pool.ts'
import type { GraphNode } from './graph.ts'

/**
 * How the gradient of a node's inputs follows from that of its outputs: appends nodes and returns, per input, the name
 * of its gradient, of the input's own shape; undefined for an input through which none flows.
 * @param dy gradient of the first output  @param dys of every output, undefined where nothing depends on it
 */
export type GradientRule = (
  b: Builder,
  n: GraphNode,
  dy: string,
  dys: readonly (string | undefined)[],
) => readonly (string | undefined)[]

/** One rule per canonical operator: the whole of reverse-mode differentiation, but for the walk (differentiate.ts). */
export const GRADIENTS = {
  ...arithmeticGradients,
  ...layoutGradients,
  ...layerGradients,
  ...convolutionGradients,
  ...poolGradients,
} satisfies Record<string, GradientRule>
