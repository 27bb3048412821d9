import type { NodeProto } from '../models/onnx.ts'
import { RpcError } from '../wire/errors.ts'
import type { Builder } from './builder.ts'
import { at, sameShape } from './graph.ts'
import { activations } from './lower_activations.ts'
import { arithmetic } from './lower_arithmetic.ts'
import { convolutions } from './lower_conv.ts'
import { layout } from './lower_layout.ts'
import { layers } from './lower_layers.ts'
import { originOf } from './refusal.ts'
import { SourceNode, type Surroundings } from './source_node.ts'

/**
 * Writes a node of the user's model, of any opset from 7 to 22, as canonical nodes: those that have a gradient rule, an
 * opset-17 form and a GPU kernel. Returns the names of its outputs, in order; later ones may be left out if unused.
 */
export type Lowering = (b: Builder, n: SourceNode) => string | readonly string[]

/** Every operator that a model to be trained may have between its parameters and its output. */
export const LOWERINGS = {
  ...arithmetic,
  ...activations,
  ...layout,
  ...layers,
  ...convolutions,
} satisfies Record<string, Lowering>

/** Translates the forward model; afterwards `names` tells what each of its values is called. */
export function lowerForward(
  computed: readonly NodeProto[],
  around: Surroundings,
  lowerings: Readonly<Record<string, Lowering>> = LOWERINGS,
): void {
  const { builder, trace, names } = around
  for (const proto of computed) {
    const origin = originOf(proto)
    builder.origin = origin
    const lowering = lowerings[proto.opType]
    if (!lowering) throw new RpcError('internal', `Cannot train the model: ${proto.opType} was not checked`)
    const results = [lowering(builder, new SourceNode(proto, origin, around))].flat()
    for (const [i, name] of proto.output.entries()) {
      if (name === '' || i >= results.length) continue
      const value = at(results, i)
      if (!sameShape(builder.shape(value), trace.shape(name))) {
        throw new RpcError(
          'internal',
          `Cannot train the model: "${name}" (${origin.op}) has shape [${trace.shape(name)}], translated to [${
            builder.shape(value)
          }]`,
        )
      }
      names.set(name, value)
    }
  }
}
