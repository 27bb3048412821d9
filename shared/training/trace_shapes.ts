import { sha256Hex } from '../base/bytes.ts'
import type { Engine } from '../engine/engine.ts'
import { node, tensorInfo, writeModel } from '../models/onnx.ts'
import { type DType, DTYPES } from '../wire/dtype.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import type { TensorSpec } from '../wire/signature.ts'
import { product, Tensor } from '../wire/tensor.ts'
import { at } from './graph.ts'
import type { Forward } from './read_forward.ts'

/** Runs a model once, and lets go of it. */
export type RunModel = (
  model: Uint8Array,
  inputs: Readonly<Record<string, Tensor>>,
) => Promise<Readonly<Record<string, Tensor>>>

/** Runs models once each on an engine. */
export function runOn(engine: Engine): RunModel {
  return async (model, inputs) => {
    // Not the hash alone: the same bytes may be loaded for another purpose, and are unloaded here.
    const key = `once:${await sha256Hex(model)}`
    await engine.load(key, model)
    try {
      return (await engine.run(key, inputs)).outputs
    } finally {
      await engine.unload(key)
    }
  }
}

export interface Sizes {
  /** Rows of one step: the size of axis 0 of every input. */
  batch: number
  /** Sizes of the other free axes, by name; one without a name goes by its input's name and number, `x.1`. */
  axes?: Readonly<Record<string, number>>
}

/** What one run of the forward model told. */
export interface Trace {
  readonly inputs: readonly { name: string; dtype: DType; shape: readonly number[] }[]
  /** The shape of a value that a computed node takes or gives. */
  shape(name: string): readonly number[]
  /** The value itself, if it depends on sizes alone. */
  value(name: string): Tensor | undefined
}

/**
 * Finds every shape by one run on zeros at the wanted size, with the shape of every value as an output, instead of by
 * rules of inference; and every value that follows from sizes alone (PyTorch's chains of Shape, Gather and Concat).
 * @throws RpcError `invalid_argument` if a free axis has no size or the model does not run at that size
 */
export async function traceShapes(forward: Forward, sizes: Sizes, run: RunModel): Promise<Trace> {
  const inputs = fixInputs(forward.inputs, sizes)
  const { fixed, constants, parameters, computed } = forward
  const names = [...new Set(computed.flatMap(({ input, output }) => [...input, ...output]))]
  const values = names.filter((name) => fixed.has(name) && name !== '' && !constants.has(name))
  const shaped = computed.flatMap(({ output }) => output).filter((name) => name !== '')
  const outputs = await runAt(sizes, run, tracer(forward, inputs, values, shaped), zeros(inputs))

  const known = new Map<string, Tensor>(constants)
  for (const name of values) known.set(name, outputOf(outputs, name))
  const shapes = new Map<string, readonly number[]>(inputs.map(({ name, shape }) => [name, shape]))
  for (const [name, tensor] of [...known, ...parameters]) shapes.set(name, tensor.shape)
  for (const [i, name] of shaped.entries()) {
    shapes.set(name, [...outputOf(outputs, shapeName(i)).data as BigInt64Array].map(Number))
  }
  return {
    inputs,
    shape: (name) => shapes.get(name) ?? missing(name),
    value: (name) => known.get(name),
  }
}

function shapeName(index: number): string {
  return `shoal.shape.${index}`
}

/** The forward model at fixed sizes, its outputs replaced by `values` and the shapes of `shaped`. */
function tracer(forward: Forward, inputs: Trace['inputs'], values: readonly string[], shaped: readonly string[]) {
  const { graph, needed, irVersion, opset } = forward
  const used = new Set(needed.flatMap(({ input }) => input))
  return writeModel({
    irVersion,
    opsetImport: [{ version: opset }],
    graph: {
      name: 'shapes',
      node: [...needed, ...shaped.map((name, i) => node('Shape', [name], [shapeName(i)]))],
      initializer: graph.initializer.filter(({ name }) => used.has(name)),
      input: inputs.map(({ name, dtype, shape }) => tensorInfo(name, dtype, shape)),
      output: [
        // Of a value without a type ONNX Runtime finds the type itself.
        ...values.map((name) => ({ name })),
        ...shaped.map((_, i) => ({ name: shapeName(i), type: { tensorType: { elemType: DTYPES.int64.onnx } } })),
      ],
    },
  })
}

async function runAt(sizes: Sizes, run: RunModel, model: Uint8Array, inputs: Record<string, Tensor>) {
  try {
    return await run(model, inputs)
  } catch (cause) {
    const { code, message } = RpcError.from(cause)
    if (code === 'unavailable' || code === 'canceled') throw cause
    const reason = cause instanceof Error ? cause.message : message
    throw invalid(
      `Cannot train the model: it must run at batch ${sizes.batch}, got: ${reason} (export it with a free batch axis)`,
      { cause },
    )
  }
}

/** Every input with all its sizes. Free axes that are axis 0 of an input, and axes of the same name, are the batch. */
function fixInputs(specs: readonly TensorSpec[], { batch, axes = {} }: Sizes): Trace['inputs'] {
  if (!Number.isSafeInteger(batch) || batch < 1) {
    throw invalid(`Cannot train the model: the batch must be a whole number from 1 up, got ${batch}`)
  }
  const first = specs.find(({ shape }) => shape.length > 0)
  if (first && at(first.shape, 0) !== -1 && at(first.shape, 0) !== batch) {
    throw invalid(
      `Cannot train the model: axis 0 of input "${first.name}" must be free or ${batch}, got ${
        at(first.shape, 0)
      } (export it with a free batch axis)`,
    )
  }
  const batchNames = new Set(specs.filter(({ shape }) => shape[0] === -1).map((spec) => spec.axes[0] || undefined))
  return specs.map(({ name, dtype, shape, axes: names }) => ({
    name,
    dtype,
    shape: shape.map((size, axis) => {
      if (size !== -1) return size
      const key = names[axis] || `${name}.${axis}`
      const given = axes[key]
      if (given !== undefined) return given
      if (axis === 0 || batchNames.has(key)) return batch
      throw invalid(
        `Cannot train the model: free axis ${axis} of input "${name}" must have a size, got none (pass axes: { "${key}": SIZE })`,
      )
    }),
  }))
}

function zeros(inputs: Trace['inputs']): Record<string, Tensor> {
  return Object.fromEntries(inputs.map(({ name, dtype, shape }) => {
    return [name, new Tensor(dtype, shape, new Uint8Array(product(shape) * DTYPES[dtype].bytes))]
  }))
}

function outputOf(outputs: Readonly<Record<string, Tensor>>, name: string): Tensor {
  return outputs[name] ?? missing(name)
}

function missing(name: string): never {
  throw new RpcError('internal', `Cannot train the model: the run that finds the shapes did not tell of "${name}"`)
}
