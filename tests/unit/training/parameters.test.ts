import { describe, expect, it } from 'vitest'
import { readModel } from '../../../shared/models/onnx.ts'
import { newMlp } from '../../../shared/training/new_models.ts'
import { withParameters } from '../../../shared/training/parameters.ts'
import { buildStepGraph } from '../../../shared/training/step_graph.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { affineModel } from '../../fixtures/models.ts'
import { run } from './wasm.ts'

describe('withParameters', () => {
  const model = affineModel({ weights: [[1, 2], [3, 4]], bias: [5, 6] })

  it('writes a model that computes with the new values', async () => {
    const { parameters, initial } = await buildStepGraph({ model, loss: 'meanSquaredError', batch: 1, run })
    const trained = withParameters(model, parameters, initial.map((value) => -value))
    const { y } = await run(trained, { x: Tensor.from('float32', [1, 2], [1, 10]) })
    expect([...y?.data as Float32Array]).toEqual([-36, -48])
    expect(withParameters(trained, parameters, initial)).toEqual(withParameters(model, parameters, initial))
  })

  it('takes dropout out, which has no GPU kernel', async () => {
    const untrained = newMlp({ inputs: 2, hidden: [3], outputs: 1, dropout: 0.5 })
    const { parameters, initial } = await buildStepGraph({ model: untrained, loss: 'meanSquaredError', batch: 1, run })
    const trained = withParameters(untrained, parameters, initial)
    const operators = (bytes: Uint8Array) => readModel(bytes).graph.node.map(({ opType }) => opType)
    expect(operators(untrained)).toContain('Dropout')
    expect(operators(trained)).not.toContain('Dropout')
    const x = Tensor.from('float32', [1, 2], [1, -2])
    expect((await run(trained, { x })).logits?.data).toEqual((await run(untrained, { x })).logits?.data)
  })

  it('refuses values or a model that do not fit the layout', async () => {
    const { parameters, initial } = await buildStepGraph({ model, loss: 'meanSquaredError', batch: 1, run })
    expect(() => withParameters(model, parameters, initial.subarray(1))).toThrow(/must be 6 values, got 5/)
    const other = newMlp({ inputs: 2, hidden: [], outputs: 2 })
    expect(() => withParameters(other, parameters, initial)).toThrow(/must have the parameter "w", got none/)
  })
})
