import * as ort from 'onnxruntime-web/wasm'
import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../shared/base/random.ts'
import { createOrtEngine } from '../../../shared/engine/ort_engine.ts'
import { readModel } from '../../../shared/models/onnx.ts'
import { newMlp } from '../../../shared/training/new_models.ts'
import { buildEvaluationGraph, buildStepGraph, readStep } from '../../../shared/training/step_graph.ts'
import { runOn } from '../../../shared/training/trace_shapes.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { product, Tensor } from '../../../shared/wire/tensor.ts'
import { affineModel } from '../../fixtures/models.ts'
import { EXPORTED, exportedModel, modelWith } from '../../fixtures/training_models.ts'
import { checkDirections, checkPortable, parametersOf } from './check_graph.ts'
import { run } from './wasm.ts'

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
