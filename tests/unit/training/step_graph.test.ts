import * as ort from 'onnxruntime-web/wasm'
import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../shared/base/random.ts'
import { createOrtEngine } from '../../../shared/engine/ort_engine.ts'
import { readModel } from '../../../shared/models/onnx.ts'
import { newMlp } from '../../../shared/training/new_models.ts'
import {
  buildEvaluationGraph,
  buildStepGraph,
  readStep,
  type StepOptions,
} from '../../../shared/training/step_graph.ts'
import { runOn } from '../../../shared/training/trace_shapes.ts'
import { DTYPES } from '../../../shared/wire/dtype.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { product, Tensor } from '../../../shared/wire/tensor.ts'
import { affineModel } from '../../fixtures/models.ts'
import { EXPORTED, exportedModel, modelWith } from '../../fixtures/training_models.ts'
import { batchOf, cnnTask, mlpTask, type ToyTask, transformerTask } from './toy_tasks.ts'
import { open, run, type Tensors } from './wasm.ts'

const parametersOf = (values: Float32Array) => ({ 'shoal.parameters': Tensor.from('float32', [values.length], values) })

describe('the step graph of an affine model', async () => {
  const weights = [[0.5, -1], [2, 0.25], [1, 1]]
  const model = affineModel({ weights, bias: [0.1, -0.2] })
  const graph = await buildStepGraph({ model, loss: 'meanSquaredError', batch: 2, run })
  const inputs = {
    ...parametersOf(graph.initial),
    x: Tensor.from('float32', [2, 3], [1, 2, -1, 0, 1, 3]),
    'shoal.target': Tensor.from('float32', [2, 2], [1, 0, 0, 1]),
    'shoal.weights': Tensor.from('float32', [2], [1, 3]),
  }

  it('says where each parameter lies, and what to feed', () => {
    expect(graph.parameters).toEqual([
      { name: 'w', shape: [3, 2], offset: 0, size: 6 },
      { name: 'b', shape: [2], offset: 6, size: 2 },
    ])
    expect([...graph.initial]).toEqual([...weights.flat(), 0.1, -0.2].map(Math.fround))
    expect(graph).toMatchObject({
      batch: 2,
      parameterCount: 8,
      output: { name: 'shoal.step', length: 10 },
      dropout: [],
    })
    expect(graph.inputs).toEqual([
      { name: 'shoal.parameters', dtype: 'float32', shape: [8], role: 'parameters' },
      { name: 'x', dtype: 'float32', shape: [2, 3], role: 'data' },
      { name: 'shoal.target', dtype: 'float32', shape: [2, 2], role: 'target' },
      { name: 'shoal.weights', dtype: 'float32', shape: [2], role: 'weights' },
    ])
  })

  it('gives sums of gradient, loss and weights', async () => {
    const { gradient, loss, n } = readStep(graph, (await run(graph.bytes, inputs))['shoal.step'] as Tensor)
    // y − target, by hand; the loss is the mean of two squares per row.
    const errors = [[1 * 0.5 + 2 * 2 - 1 + 0.1 - 1, -1 + 0.5 - 1 - 0.2], [2 + 3 + 0.1, 0.25 + 3 - 0.2 - 1]]
    const x = [[1, 2, -1], [0, 1, 3]]
    const w = [1, 3]
    const sum = (of: (row: number) => number) => of(0) * (w[0] ?? 0) + of(1) * (w[1] ?? 0)
    const at = (row: number, i: number) => errors[row]?.[i] ?? NaN
    expect(loss).toBeCloseTo(sum((row) => (at(row, 0) ** 2 + at(row, 1) ** 2) / 2), 4)
    expect(n).toBe(4)
    const expected = [
      ...[0, 1, 2].flatMap((k) => [0, 1].map((i) => sum((row) => at(row, i) * (x[row]?.[k] ?? NaN)))),
      ...[0, 1].map((i) => sum((row) => at(row, i))),
    ]
    for (const [i, value] of expected.entries()) expect(gradient[i]).toBeCloseTo(value, 4)
  })

  it('is refused as the result of another graph', () => {
    for (
      const output of [Tensor.from('float32', [9], new Float32Array(9)), Tensor.from('int32', [10], new Int32Array(10))]
    ) {
      expect(() => readStep(graph, output)).toThrow(/Cannot read the step: it must be float32 \[10\], got/)
    }
  })
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
async function checkDirections(model: Uint8Array, options: Omit<StepOptions, 'model' | 'run'>, inputs: Tensors) {
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

describe('a model as PyTorch exports it', () => {
  const { vocabulary } = EXPORTED
  const [rows, length] = [3, 5]
  const random = seededRandom(4)
  const tokens = Array.from({ length: rows * length }, () => Math.floor(vocabulary * random()))
  const inputs = {
    tokens: Tensor.from('int32', [rows, length], tokens),
    'shoal.target': Tensor.from('int32', [rows, length], tokens.map((token) => (token + 1) % vocabulary)),
    'shoal.weights': Tensor.from('float32', [rows, length], tokens.map(() => 1)),
  }

  for (const opset of [17, 20, 22]) {
    it(`is trained at opset ${opset}, its computed shapes and masks folded away`, async () => {
      const options = { loss: 'crossEntropyOfLabels', batch: rows, axes: { seq: length } } as const
      const graph = await checkDirections(exportedModel(opset), options, inputs)
      expect(graph.parameters.map(({ name }) => name)).toEqual([
        'embedding.weight',
        'position.weight',
        'query.weight',
        'norm.weight',
        'head.weight',
      ])
      expect(graph.inputs.find(({ name }) => name === 'tokens')).toMatchObject({
        dtype: 'int32',
        shape: [rows, length],
      })
      checkPortable(graph.bytes)
    })
  }

  it('gives the same gradient, but for the order of sums, where embeddings are scattered', async () => {
    const options = {
      model: exportedModel(),
      loss: 'crossEntropyOfLabels',
      batch: rows,
      axes: { seq: length },
      run,
    } as const
    const exact = await buildStepGraph(options)
    const fast = await buildStepGraph({ ...options, embeddingGradient: 'fast' })
    const operators = (graph: { bytes: Uint8Array }) => readModel(graph.bytes).graph.node.map(({ opType }) => opType)
    expect(operators(exact)).not.toContain('ScatterElements')
    expect(operators(fast)).toContain('ScatterElements')
    const all = { ...inputs, ...parametersOf(exact.initial) }
    const [left, right] = [await run(exact.bytes, all), await run(fast.bytes, all)]
    const other = right['shoal.step']?.data as Float32Array
    for (const [i, value] of (left['shoal.step']?.data as Float32Array).entries()) {
      expect(other[i]).toBeCloseTo(value, 5)
    }
  })
})

/** Opset 17, IR 8, and int64 for nothing but sizes. */
function checkPortable(bytes: Uint8Array): void {
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

describe('whole models', () => {
  const tasks: Record<string, ToyTask> = { mlp: mlpTask, cnn: cnnTask, transformer: transformerTask }
  for (const [name, task] of Object.entries(tasks)) {
    const options = { loss: task.loss, batch: 6 }

    it(`${name}: the gradient is the slope of the loss in every parameter`, async () => {
      const graph = await checkDirections(task.model, options, batchOf(task, [0, 1, 2, 3, 4, 5], 6))
      checkPortable(graph.bytes)
    })

    it(`${name}: rows that fill up a batch add exactly nothing, whatever they hold`, async () => {
      const graph = await buildStepGraph({ model: task.model, run, ...options })
      await using session = await open(graph.bytes)
      const results = []
      for (const filler of [0, 40, 99]) {
        const output = await session.run({ ...batchOf(task, [7, 8, 9, 10], 6, filler), ...parametersOf(graph.initial) })
        results.push(Array.from(output['shoal.step']?.data as Float32Array))
      }
      expect(results[1]).toEqual(results[0])
      expect(results[2]).toEqual(results[0])

      const small = await buildStepGraph({ model: task.model, run, ...options, batch: 4 })
      const output = await run(small.bytes, { ...batchOf(task, [7, 8, 9, 10], 4), ...parametersOf(graph.initial) })
      const alone = Array.from(output['shoal.step']?.data as Float32Array)
      expect(alone.at(-1)).toBe(results[0]?.at(-1))
      // Other sizes are summed in other orders.
      for (const [i, value] of alone.entries()) expect(Math.abs(value - (results[0]?.[i] ?? NaN))).toBeLessThan(1e-5)
    })
  }
})

describe('the evaluation graph', () => {
  it('counts right answers by weight, without dropout', async () => {
    const model = newMlp({ inputs: 2, hidden: [8], outputs: 2, dropout: 0.5 })
    const evaluation = await buildEvaluationGraph({ model, loss: 'crossEntropyOfLabels', batch: 3, run })
    expect(evaluation.inputs.map(({ role }) => role)).toEqual(['parameters', 'data', 'target', 'weights'])
    const { initial } = await buildStepGraph({ model, loss: 'crossEntropyOfLabels', batch: 3, run })
    const x = Tensor.from('float32', [3, 2], [1, 2, -1, 0.5, 3, -2])
    const logits = (await run(model, { x })).logits?.data as Float32Array
    const best = [0, 1, 2].map((row) => Number((logits[2 * row + 1] ?? 0) > (logits[2 * row] ?? 0)))
    // The last of them is wrong.
    const target = Tensor.from('int32', [3], best.map((label, row) => row === 2 ? 1 - label : label))
    const output = await run(evaluation.bytes, {
      ...parametersOf(initial),
      x,
      'shoal.target': target,
      'shoal.weights': Tensor.from('float32', [3], [1, 0.5, 4]),
    })
    const [loss, correct, n] = output['shoal.evaluation']?.data as Float32Array
    expect([correct, n]).toEqual([1.5, 5.5])
    expect(loss).toBeGreaterThan(0)
  })
})

describe('a model that ends in the activation of its loss', () => {
  const inputs = {
    x: Tensor.from('float32', [2, 2, 4, 4], Float32Array.from({ length: 64 }, (_, i) => Math.sin(i))),
    'shoal.target': Tensor.from(
      'float32',
      [2, 2, 4, 4],
      Float32Array.from({ length: 64 }, (_, i) => Number(i % 4 === 1)),
    ),
  }
  for (
    const [op, loss, weights] of [['Softmax', 'crossEntropy', [2, 2, 4]], ['Sigmoid', 'binaryCrossEntropy', [
      2,
    ]]] as const
  ) {
    it(`${op}: the loss is taken before it`, async () => {
      const given = {
        ...inputs,
        'shoal.weights': Tensor.from('float32', weights, new Float32Array(product(weights)).fill(1)),
      }
      const results = []
      for (const last of [op, 'Identity']) {
        const graph = await buildStepGraph({ model: modelWith(last), loss, batch: 2, run })
        const output = await run(graph.bytes, { ...given, ...parametersOf(graph.initial) })
        results.push(Array.from(output['shoal.step']?.data as Float32Array))
      }
      expect(results[0]).toEqual(results[1])
    })
  }
})

describe('an engine', () => {
  it('finds the shapes as a bare session does', async () => {
    const info = {
      device: 'wasm',
      build: 'wasm',
      adapter: 'test',
      fallbackAdapter: false,
      fp16: true,
      reason: '',
    } as const
    const engine = await createOrtEngine({ ort, info })
    const options = { model: exportedModel(), loss: 'crossEntropyOfLabels', batch: 2, axes: { seq: 3 } } as const
    try {
      const graph = await buildStepGraph({ ...options, run: runOn(engine) })
      expect(graph.bytes).toEqual((await buildStepGraph({ ...options, run })).bytes)
    } finally {
      await engine.close()
    }
  })
})

describe('a run that fails while the shapes are found', () => {
  const options = { model: affineModel({ weights: [[1]], bias: [0] }), loss: 'meanSquaredError', batch: 2 } as const

  it('is the model’s fault if it does not run at that batch', async () => {
    const failing = () => Promise.reject(new Error('no such batch'))
    await expect(buildStepGraph({ ...options, run: failing })).rejects.toMatchObject({
      code: 'invalid_argument',
      message: 'Cannot train the model: it must run at batch 2, got: no such batch (export it with a free batch axis)',
    })
  })

  it('is not if the engine is gone', async () => {
    const gone = () => Promise.reject(new RpcError('unavailable', 'gone'))
    await expect(buildStepGraph({ ...options, run: gone })).rejects.toMatchObject({ code: 'unavailable' })
  })
})
