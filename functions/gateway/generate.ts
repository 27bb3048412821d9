import type { ModelCatalog } from '../../shared/models/catalog.ts'
import { invalid, RpcError } from '../../shared/wire/errors.ts'
import type { ModelLoop } from '../../shared/wire/signature.ts'
import type { Tensor } from '../../shared/wire/tensor.ts'
import { findModel, type Infer, type InferCall } from './inference.ts'

type Tensors = Record<string, Tensor>

/**
 * Runs a model again and again on its own outputs, as `manifest.loop` says, and yields those of each step as it is done. What
 * the model remembers travels with each step: any worker may take the next one, and one that is lost costs no more than
 * the step it was at.
 * @throws RpcError `failed_precondition` if the model has no loop, else what a step's run ends with
 */
export async function* generate(
  deps: { catalog: ModelCatalog; infer: Infer },
  { steps, outputs: wanted, ...call }: InferCall & { steps?: number },
): AsyncGenerator<{ step: number; outputs: Tensors }> {
  const { name, version, loop } = await findModel(deps.catalog, call.model, call.version)
  if (!loop) throw new RpcError('failed_precondition', `Cannot generate with "${name}": it must have a loop, got none`)
  if (steps !== undefined && steps > loop.maxSteps) {
    throw invalid(`Cannot generate with "${name}": steps must be at most ${loop.maxSteps}, got ${steps}`)
  }
  let { inputs } = call
  for (let step = 0; step < (steps ?? loop.maxSteps); step++) {
    // The version that it began with, whatever an alias comes to name meanwhile.
    const { outputs } = await deps.infer({ ...call, version, inputs })
    yield { step, outputs: pick(outputs, wanted ?? loop.emit) }
    if (isOver(outputs, loop)) return
    inputs = { ...inputs }
    for (const [output, input] of Object.entries(loop.feed)) {
      const fed = outputs[output]
      if (fed) inputs[input] = fed
    }
  }
}

function pick(outputs: Tensors, names: readonly string[] | undefined): Tensors {
  if (!names || names.length === 0) return outputs
  return Object.fromEntries(Object.entries(outputs).filter(([name]) => names.includes(name)))
}

/** All of a batch must have come to their end: a step is one for all. */
function isOver(outputs: Tensors, { stop }: ModelLoop): boolean {
  const tensor = stop && outputs[stop.output]
  if (!tensor || tensor.size === 0) return false
  return Array.from(tensor.data as ArrayLike<unknown>).every((value) => Number(value) === stop.equals)
}
