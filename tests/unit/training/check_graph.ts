import { expect } from 'vitest'
import { readModel } from '../../../shared/models/onnx.ts'
import {
  buildEvaluationGraph,
  buildStepGraph,
  readStep,
  type StepOptions,
} from '../../../shared/training/step_graph.ts'
import { DTYPES } from '../../../shared/wire/dtype.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { open, run, type Tensors } from './wasm.ts'

export const parametersOf = (values: Float32Array) => ({
  'shoal.parameters': Tensor.from('float32', [values.length], values),
})

/** Loss and n of a graph's evaluation at other parameters. */
async function lossAt(model: Uint8Array, options: Omit<StepOptions, 'model' | 'run'>, inputs: Tensors) {
  const evaluation = await buildEvaluationGraph({ model, run, ...options })
  const session = await open(evaluation.bytes)
  return {
    loss: async (parameters: Float32Array) => {
      const output = await session.run({ ...inputs, ...parametersOf(parameters) })
      return output['shoal.evaluation']?.data as Float32Array
    },
    [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
  }
}

/** Compares the gradient along random directions with differences of the loss. */
export async function checkDirections(model: Uint8Array, options: Omit<StepOptions, 'model' | 'run'>, inputs: Tensors) {
  const graph = await buildStepGraph({ model, run, ...options })
  const { initial } = graph
  const output = await run(graph.bytes, { ...inputs, ...parametersOf(initial) })
  const { gradient, loss, n } = readStep(graph, output['shoal.step'] as Tensor)
  await using evaluation = await lossAt(model, options, inputs)
  const [evaluated = NaN, , count] = await evaluation.loss(initial)
  expect(evaluated).toBeCloseTo(loss, 3)
  expect(count).toBe(n)
  for (const { name, offset, size } of graph.parameters) {
    // Along the gradient itself, one parameter at a time: each must be right, however small beside the others.
    const part = gradient.subarray(offset, offset + size)
    const norm = Math.hypot(...part)
    if (norm < 1e-5) continue
    const slope = async (h: number) => {
      const moved = (by: number) =>
        initial.map((p, i) => p + (i >= offset && i < offset + size ? by * (gradient[i] ?? 0) / norm : 0))
      const [[ahead = NaN], [behind = NaN]] = [await evaluation.loss(moved(h)), await evaluation.loss(moved(-h))]
      return (ahead - behind) / (2 * h)
    }
    // Extrapolated to h = 0 (Richardson): the loss is curved, and float32 leaves no room for a short step.
    const limit = (4 * await slope(0.0025) - await slope(0.005)) / 3
    expect(Math.abs(limit - norm), name).toBeLessThan(0.01 * norm + 1e-4 * loss)
  }
  return graph
}

/** Opset 17, IR 8, and int64 for nothing but sizes. */
export function checkPortable(bytes: Uint8Array): void {
  const { graph, irVersion, opsetImport } = readModel(bytes)
  expect([irVersion, opsetImport.map(({ version }) => version)]).toEqual([8, [17]])
  const int64 = DTYPES.int64.onnx
  const sizes = new Set(graph.initializer.filter(({ dataType }) => dataType === int64).map(({ name }) => name))
  for (const { name, type } of [...graph.input, ...graph.output]) {
    expect(type?.tensorType?.elemType, name).not.toBe(int64)
  }
  for (const { opType, input, attribute } of graph.node) {
    expect(['Shape', 'Size', 'Range', 'ConstantOfShape', 'Constant', 'LogSoftmax', 'OneHot']).not.toContain(opType)
    if (opType === 'Cast') expect(attribute[0]?.i).not.toBe(BigInt(int64))
    for (const [i, name] of input.entries()) {
      if (!sizes.has(name)) continue
      expect(i, opType).toBeGreaterThan(0)
      expect(['Reshape', 'Expand', 'Slice', 'Pad', 'Split', 'ReduceSum']).toContain(opType)
    }
  }
}
