import type { ModelManifest, TensorSpec } from '../../shared/wire/signature.ts'

/** A model that turns pictures into pictures, and can therefore be tried in the console. */
export interface PictureModel {
  kind: 'picture'
  name: string
  input: string
  /** Pixels; undefined where the model takes any size. */
  width: number | undefined
  height: number | undefined
  /** Outputs that are pictures, colour before grey: what a person wants to see first. */
  outputs: readonly string[]
}

/** The newest version of each model that takes one RGB picture and gives at least one picture, by name. */
export function pictureModels(models: readonly ModelManifest[]): PictureModel[] {
  const newest = new Map(models.map((model) => [model.name, model]))
  return [...newest.values()].flatMap(({ name, signature }) => {
    const [input, ...others] = signature.inputs
    const outputs = signature.outputs.filter((spec) => isPicture(spec, [3, 1]))
    if (!input || others.length > 0 || !isPicture(input, [3]) || outputs.length === 0) return []
    outputs.sort((a, b) => (b.shape[1] ?? 0) - (a.shape[1] ?? 0))
    const [, , height, width] = input.shape.map((size) => size === -1 ? undefined : size)
    return [{ kind: 'picture', name, input: input.name, width, height, outputs: outputs.map((spec) => spec.name) }]
  })
}

/** float32 [N, channels, height, width], of which one picture can be asked for. */
function isPicture({ dtype, shape }: TensorSpec, channels: readonly number[]): boolean {
  const [count, channel = 0] = shape
  return dtype === 'float32' && shape.length === 4 && (count === -1 || count === 1) && channels.includes(channel)
}
