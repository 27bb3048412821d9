import { describe, expect, it } from 'vitest'
import type { Bytes } from '../../../shared/base/bytes.ts'
import { readSignature } from '../../../shared/models/signature.ts'
import { readModel } from '../../../shared/models/onnx.ts'
import { fromTensorProto } from '../../../shared/models/onnx_tensor.ts'
import { newCnn, newMlp, newTransformer } from '../../../shared/training/new_models.ts'
import { buildStepGraph } from '../../../shared/training/step_graph.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { run } from './wasm.ts'

const MODELS: Record<string, { make: (seed: number) => Bytes; input: number[]; output: number[]; parameters: number }> =
  {
    mlp: {
      make: (seed) => newMlp({ inputs: 5, hidden: [7, 6], outputs: 3, seed }),
      input: [5],
      output: [3],
      parameters: 5 * 7 + 7 + 7 * 6 + 6 + 6 * 3 + 3,
    },
    linear: {
      make: (seed) => newMlp({ inputs: 5, hidden: [], outputs: 3, seed }),
      input: [5],
      output: [3],
      parameters: 18,
    },
    cnn: {
      make: (seed) => newCnn({ channels: 2, height: 9, width: 12, classes: 4, filters: [3, 5], seed }),
      input: [2, 9, 12],
      output: [4],
      parameters: 3 * 2 * 9 + 2 * 3 + 5 * 3 * 9 + 2 * 5 + 5 * 2 * 3 * 4 + 4,
    },
    transformer: {
      make: (seed) => newTransformer({ vocabulary: 9, context: 5, width: 8, heads: 2, layers: 2, seed }),
      input: [5],
      output: [5, 9],
      // Embeddings, per block two norms, attention and its output, two dense layers; and the last norm.
      parameters: 9 * 8 + 5 * 8 + 2 * (32 + 8 * 24 + 24 + 64 + 8 + 8 * 32 + 32 + 32 * 8 + 8) + 16,
    },
  }

describe('new models', () => {
  for (const [name, { make, input, output, parameters }] of Object.entries(MODELS)) {
    it(`${name}: takes and gives batches of any size`, async () => {
      const bytes = make(1)
      const { signature } = readSignature(bytes)
      const [given] = signature.inputs
      expect(signature.inputs.map(({ shape, axes }) => [shape, axes[0]])).toEqual([[[-1, ...input], 'N']])
      expect(signature.outputs.map(({ name, shape }) => [name, shape])).toEqual([['logits', [-1, ...output]]])
      expect(signature.batchable).toBe(true)
      const dtype = given?.dtype ?? 'float32'
      for (const rows of [1, 3]) {
        const size = [rows, ...input].reduce((a, b) => a * b)
        const x = Tensor.from(dtype, [rows, ...input], Array.from({ length: size }, (_, i) => i % 3))
        const { logits } = await run(bytes, { [given?.name ?? '']: x })
        expect(logits?.shape).toEqual([rows, ...output])
        expect((logits?.data as Float32Array).every(Number.isFinite)).toBe(true)
      }
    })

    it(`${name}: trains all of its weights, and nothing else`, async () => {
      const { parameterCount } = await buildStepGraph({ model: make(1), loss: 'crossEntropyOfLabels', batch: 2, run })
      expect(parameterCount).toBe(parameters)
    })

    it(`${name}: is the same for the same seed`, () => {
      expect(make(3)).toEqual(make(3))
      expect(make(3)).not.toEqual(make(4))
    })
  }

  it('begin with weights of the right size', () => {
    const { graph } = readModel(newMlp({ inputs: 600, hidden: [200], outputs: 10 }))
    const bounds = { 'layer0.weight': Math.sqrt(6 / 600), 'layer1.weight': Math.sqrt(6 / 210) }
    for (const [name, bound] of Object.entries(bounds)) {
      const proto = graph.initializer.find((one) => one.name === name)
      const values = proto ? [...fromTensorProto(proto).data as Float32Array] : []
      const largest = Math.max(...values.map(Math.abs))
      expect(largest).toBeLessThanOrEqual(bound)
      expect(largest).toBeGreaterThan(0.95 * bound)
      expect(Math.abs(values.reduce((a, b) => a + b, 0) / values.length)).toBeLessThan(0.05 * bound)
    }
  })

  it('see only the tokens up to each', async () => {
    const bytes = MODELS.transformer?.make(1) ?? new Uint8Array()
    const logits = async (
      tokens: readonly number[],
    ) => [...(await run(bytes, { tokens: Tensor.from('int32', [1, 5], tokens) })).logits?.data as Float32Array]
    const [left, right] = [await logits([1, 2, 3, 4, 5]), await logits([1, 2, 3, 8, 5])]
    expect(left.slice(0, 27)).toEqual(right.slice(0, 27))
    expect(left.slice(27)).not.toEqual(right.slice(27))
  })

  it('refuse sizes that make no model', () => {
    expect(() => newMlp({ inputs: 0, hidden: [], outputs: 1 })).toThrow(
      /inputs must be a whole number from 1 up, got 0/,
    )
    expect(() => newMlp({ inputs: 1, hidden: [4, -1], outputs: 1 })).toThrow(/hidden\[1\] must be .* got -1/)
    expect(() => newCnn({ channels: 1, height: 3, width: 8, classes: 2 })).toThrow(
      /keep a pixel after 2 halvings, got 3 × 8/,
    )
    expect(() => newTransformer({ vocabulary: 4, context: 4, width: 6, heads: 4, layers: 1 })).toThrow(
      /width must be a multiple of 4 heads, got 6/,
    )
  })
})
