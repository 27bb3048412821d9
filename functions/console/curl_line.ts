import { DTYPES } from '../../shared/wire/dtype.ts'
import { product } from '../../shared/wire/tensor.ts'
import type { ModelManifest, TensorSpec } from '../../shared/wire/signature.ts'

/** Numbers that still fit into a line one would paste. */
const MAX_ELEMENTS = 64

/**
 * A command that calls one of the models, whole: free dimensions are made small. Prefers the model whose call is
 * shortest. A key is named, never shown.
 */
export function curlLine(origin: string, models: readonly ModelManifest[], needsKey: boolean): string {
  const key = needsKey ? ` -H "authorization: Bearer $SHOAL_KEY"` : ''
  const newest = [...new Map(models.map((model) => [model.name, model])).values()]
  const [model] = newest.filter(isSmall).sort((a, b) => elements(a) - elements(b))
  if (!model) return `curl -s${key} ${origin}/models`
  const outputs = model.signature.outputs
  const smallest = outputs.toSorted((a, b) => a.shape.length - b.shape.length)[0]
  const body = {
    inputs: model.signature.inputs.map((spec) => ({
      name: spec.name,
      datatype: DTYPES[spec.dtype].oip,
      shape: sample(spec),
      data: values(spec),
    })),
    ...(outputs.length > 1 && smallest && { outputs: [{ name: smallest.name }] }),
  }
  // A quote in a tensor's name would end the shell's string.
  const json = JSON.stringify(body).replaceAll("'", "'\\''")
  return `curl -s${key} ${origin}/v2/models/${model.name}/infer -d '${json}'`
}

function isSmall(model: ModelManifest): boolean {
  return elements(model) <= MAX_ELEMENTS && model.signature.inputs.every(({ dtype }) => dtype !== 'string')
}

function elements({ signature }: ModelManifest): number {
  return signature.inputs.reduce((sum, spec) => sum + product(sample(spec)), 0)
}

/** One sample, two along every other free dimension. */
function sample({ shape }: TensorSpec): number[] {
  return shape.map((size, axis) => size === -1 ? (axis === 0 ? 1 : 2) : size)
}

function values(spec: TensorSpec): (number | boolean)[] {
  const count = product(sample(spec))
  return Array.from({ length: count }, (_, i) => {
    if (spec.dtype === 'bool') return i % 2 === 0
    return spec.dtype.startsWith('float') ? Math.round(10 * (i + 0.5) / count) / 10 : i % 2
  })
}
