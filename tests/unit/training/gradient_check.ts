import { Builder } from '../../../shared/training/builder.ts'
import { differentiate } from '../../../shared/training/differentiate.ts'
import { type GradientRule, GRADIENTS } from '../../../shared/training/gradients.ts'
import { lowerForward, type Lowering, LOWERINGS } from '../../../shared/training/lower.ts'
import { type Forward, readForward } from '../../../shared/training/read_forward.ts'
import { type Trace, traceShapes } from '../../../shared/training/trace_shapes.ts'
import { writeGraph } from '../../../shared/training/write_graph.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { type GradientCase, modelToTrain, modelToVary, random } from './gradient_case.ts'
import { open, run, type Tensors } from './wasm.ts'

/** What a case's model gives by itself, without any of our rules. */
export interface Reference {
  forward: Forward
  trace: Trace
  y: Tensor
  /** Weights of y's elements in the scalar whose gradient is taken. */
  weights: Tensor
  /** By leaf, from central differences. */
  gradients: Record<string, Float64Array>
}

/** Central differences in every element of every leaf, on the model as it was written. */
export async function referenceOf(one: GradientCase): Promise<Reference> {
  await using session = await open(modelToVary(one))
  const evaluate = async (leaves: Tensors) => (await session.run({ ...leaves, ...one.data })).y as Tensor
  const y = await evaluate(one.leaves)
  const forward = readForward(modelToTrain(one, y), { trainable: (name) => name in one.leaves })
  const trace = await traceShapes(forward, { batch: firstSize(one.data) }, run)
  const spread = random(y.shape, { seed: 5, low: 0.5, high: 1.5 })
  const weights = Tensor.from(one.dtype, y.shape, [...spread.data].map((w, i) => i % 3 === 1 ? -w : w))
  const gradients: Record<string, Float64Array> = {}
  for (const [name, leaf] of Object.entries(one.leaves)) {
    const values = [...leaf.data as Float64Array]
    const gradient = new Float64Array(values.length)
    for (const [i, value] of values.entries()) {
      const at = async (moved: number) => {
        const leaves = { ...one.leaves, [name]: Tensor.from(one.dtype, leaf.shape, values.with(i, moved)) }
        return weightedSum(await evaluate(leaves), weights)
      }
      gradient[i] = (await at(value + one.h) - await at(value - one.h)) / (2 * one.h)
    }
    gradients[name] = gradient
  }
  return { forward, trace, y, weights, gradients }
}

export interface Rules {
  gradients?: Readonly<Record<string, GradientRule>>
  lowerings?: Readonly<Record<string, Lowering>>
}

/** How far our graph is from the reference, forward and by leaf, relative to each one's greatest value. */
export async function differences(one: GradientCase, reference: Reference, rules: Rules = {}) {
  const { forward, trace, weights } = reference
  const b = new Builder()
  const names = new Map<string, string>()
  for (const { name, dtype, shape } of trace.inputs) names.set(name, b.input(name, dtype, shape))
  const leaves = Object.keys(one.leaves).filter((name) => forward.parameters.has(name))
  for (const name of leaves) names.set(name, b.input(name, one.dtype, one.leaves[name]?.shape ?? []))
  lowerForward(forward.computed, { builder: b, trace, opset: forward.opset, names }, rules.lowerings ?? LOWERINGS)
  const y = names.get('y') ?? ''
  const loss = b.reshape(b.sum(b.mul(y, b.constant(weights))), [])
  const wanted = differentiate(b, loss, leaves.map((name) => names.get(name) ?? ''), rules.gradients ?? GRADIENTS)
  const outputs = [{ name: 'y', value: y }, ...leaves.map((name, i) => ({ name: `d ${name}`, value: wanted[i] ?? '' }))]
  // int64 inputs are int32 in what we write, so these cases feed int32.
  const fed = Object.fromEntries(leaves.map((name) => [name, one.leaves[name] as Tensor]))
  const results = await run(writeGraph(b, outputs), { ...fed, ...one.data })
  const errors: Record<string, number> = { y: relativeError(results.y, reference.y.data as Float64Array) }
  for (const name of leaves) {
    errors[`d ${name}`] = relativeError(results[`d ${name}`], reference.gradients[name] ?? new Float64Array())
  }
  return errors
}

export function relativeError(tensor: Tensor | undefined, expected: ArrayLike<number>): number {
  const got = Array.from(tensor?.data as Float64Array)
  if (got.length !== expected.length) return Infinity
  const scale = Math.max(1e-3, ...Array.from(expected, Math.abs))
  return got.reduce((worst, value, i) => {
    const error = Math.abs(value - (expected[i] ?? NaN)) / scale
    return error <= worst ? worst : Number.isNaN(error) ? Infinity : error
  }, 0)
}

function weightedSum(y: Tensor, weights: Tensor): number {
  const factors = weights.data as Float64Array
  return (y.data as Float64Array).reduce((sum, value, i) => sum + value * (factors[i] ?? NaN), 0)
}

function firstSize(data: Tensors): number {
  return Object.values(data)[0]?.shape[0] ?? 1
}
