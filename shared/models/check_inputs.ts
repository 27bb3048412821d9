import type { DType } from '../wire/dtype.ts'
import { invalid } from '../wire/errors.ts'
import type { Signature, TensorSpec } from '../wire/signature.ts'

/** What a call says of one of its tensors: a Tensor, or its entry in a frame's header. */
export interface GivenInput {
  name: string
  dtype: DType
  shape: readonly number[]
}

/**
 * Checks a call's inputs against a model before any work is queued: names, dtypes, ranks, fixed sizes, and that free
 * axes of one name have one size.
 * @throws RpcError `invalid_argument` saying which input is wrong and what was expected
 */
export function checkInputs(model: string, signature: Signature, inputs: Iterable<GivenInput>): void {
  const given = new Set<string>()
  const sizes = new Map<string, { size: number; input: string }>()
  for (const input of inputs) {
    const spec = signature.inputs.find(({ name }) => name === input.name)
    if (!spec) throw refuse(model, `inputs must be ${listNames(signature.inputs)}, got "${input.name}"`)
    if (given.has(input.name)) throw refuse(model, `input "${input.name}" must be given once, got it twice`)
    given.add(input.name)
    checkInput(model, spec, input)
    checkNamedAxes(model, spec, input, sizes)
  }
  const missing = signature.inputs.filter(({ name }) => !given.has(name))
  if (missing.length > 0) {
    const got = given.size === 0 ? 'none' : [...given].map((name) => `"${name}"`).join(', ')
    throw refuse(model, `inputs must be ${listNames(signature.inputs)}, got ${got}`)
  }
}

function checkInput(model: string, spec: TensorSpec, input: GivenInput): void {
  if (input.dtype !== spec.dtype) {
    throw refuse(model, `input "${spec.name}" must have dtype ${spec.dtype}, got ${input.dtype}`)
  }
  const fits = input.shape.length === spec.shape.length &&
    spec.shape.every((size, axis) => size === -1 || size === input.shape[axis])
  if (!fits) throw refuse(model, `input "${spec.name}" must have shape ${show(spec.shape)}, got ${show(input.shape)}`)
}

function checkNamedAxes(
  model: string,
  spec: TensorSpec,
  input: GivenInput,
  sizes: Map<string, { size: number; input: string }>,
): void {
  spec.axes.forEach((axis, at) => {
    if (axis === '') return
    const size = input.shape[at] ?? 0
    const first = sizes.get(axis)
    if (!first) return void sizes.set(axis, { size, input: spec.name })
    if (first.size === size) return
    throw refuse(
      model,
      `axis ${at} of input "${spec.name}" ("${axis}") must be ${first.size} as in input "${first.input}", got ${size}`,
    )
  })
}

function refuse(model: string, why: string) {
  return invalid(`Cannot run "${model}": ${why}`)
}

function listNames(specs: readonly TensorSpec[]): string {
  return specs.length === 0 ? 'none' : specs.map(({ name }) => `"${name}"`).join(', ')
}

function show(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`
}
