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
 * The same as `checkInputs` for tensors by name. What plainly fits is let through at once, without the search for what
 * might be wrong: nearly every call does.
 * @throws RpcError `invalid_argument` saying which input is wrong and what was expected
 */
export function checkTensors(
  model: string,
  signature: Signature,
  inputs: Readonly<Record<string, Omit<GivenInput, 'name'>>>,
): void {
  if (plainlyFits(signature, inputs)) return
  checkInputs(model, signature, Object.entries(inputs).map(([name, { dtype, shape }]) => ({ name, dtype, shape })))
}

function plainlyFits(signature: Signature, inputs: Readonly<Record<string, Omit<GivenInput, 'name'>>>): boolean {
  let extra = -signature.inputs.length
  for (const _ in inputs) extra++
  if (extra !== 0 || sharesAxes(signature)) return false
  for (const spec of signature.inputs) {
    const input = inputs[spec.name]
    if (input?.dtype !== spec.dtype || !fits(spec, input.shape)) return false
  }
  return true
}

/** Whether a name stands at two of its inputs' axes, whose sizes must then be compared. */
function sharesAxes(signature: Signature): boolean {
  let shares = sharing.get(signature)
  if (shares === undefined) {
    const names = signature.inputs.flatMap(({ axes }) => axes.filter((axis) => axis !== ''))
    sharing.set(signature, shares = new Set(names).size < names.length)
  }
  return shares
}

const sharing = new WeakMap<Signature, boolean>()

function fits(spec: TensorSpec, shape: readonly number[]): boolean {
  if (shape.length !== spec.shape.length) return false
  for (let axis = 0; axis < shape.length; axis++) {
    if (spec.shape[axis] !== -1 && spec.shape[axis] !== shape[axis]) return false
  }
  return true
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
  if (fits(spec, input.shape)) return
  throw refuse(model, `input "${spec.name}" must have shape ${show(spec.shape)}, got ${show(input.shape)}`)
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
