import { describe, expect, it } from 'vitest'
import { node, tensorInfo, toTensorProto } from '../../../shared/models/onnx.ts'
import { buildStepGraph, type StepOptions } from '../../../shared/training/step_graph.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { affineModel, modelOf } from '../../fixtures/models.ts'
import { modelWith } from '../../fixtures/training_models.ts'

/** The message of the refusal, which must come before the model is run. */
async function refusalOf(model: Uint8Array, options: Partial<StepOptions> = {}): Promise<string> {
  const run = () => Promise.reject(new Error('it was run'))
  const refused = await buildStepGraph({ model, loss: 'meanSquaredError', batch: 2, run, ...options }).then(
    () => 'accepted',
    (thrown) => thrown,
  )
  expect(refused).toBeInstanceOf(RpcError)
  expect((refused as RpcError).code).toBe('invalid_argument')
  return (refused as RpcError).message
}

const stats = [[2], [2], [2], [2]]

describe('a node that cannot be trained is refused before anything runs, by name, with what to do', () => {
  const cases: Record<string, [Uint8Array, RegExp]> = {
    'an operator without a rule': [
      modelWith('CumSum'),
      /node "\/layer\/op" \(CumSum\) must be of an operator with a gradient rule, got CumSum; build it from/,
    ],
    'an operator of another domain': [
      modelWith('Gelu', { domain: 'com.microsoft' }),
      /got com\.microsoft\.Gelu; export it with the standard ONNX operators/,
    ],
    'train-mode BatchNormalization': [
      modelWith('BatchNormalization', { others: stats, attributes: { training_mode: 1 } }),
      /"\/layer\/op" \(BatchNormalization\) must have training_mode 0, got 1; .* differ .* export it in eval mode/,
    ],
    'train-mode BatchNormalization of old': [
      modelWith('BatchNormalization', { others: stats, outputs: 5, opset: 9 }),
      /\(BatchNormalization\) must have no second output, got "extra1", .*eval mode/,
    ],
    'LayerNormalization with statistics': [
      modelWith('LayerNormalization', { others: [[4]], outputs: 2 }),
      /must have no second output, got "extra1"; compute the mean/,
    ],
    'LayerNormalization in float16': [
      modelWith('LayerNormalization', { others: [[4]], attributes: { stash_type: 10 } }),
      /must have stash_type 1, got 10/,
    ],
    'MaxPool with indices': [
      modelWith('MaxPool', { outputs: 2, attributes: { kernel_shape: [1, 1] } }),
      /\(MaxPool\) must have no second output/,
    ],
    'MaxPool in column-major order': [
      modelWith('MaxPool', { attributes: { kernel_shape: [1, 1], storage_order: 1 } }),
      /must have storage_order 0, got 1/,
    ],
    'a pool of volumes': [
      modelWith('MaxPool', { attributes: { kernel_shape: [1, 1, 1] } }),
      /must work on one or two spatial axes, got 3/,
    ],
    'dilated AveragePool': [
      modelWith('AveragePool', { attributes: { kernel_shape: [1, 1], dilations: [1, 2] }, opset: 19 }),
      /must have dilations 1, got \[1,2\]/,
    ],
    'AveragePool that counts what lies beyond the padding': [
      modelWith('AveragePool', { attributes: { kernel_shape: [1, 1], ceil_mode: 1, count_include_pad: 1 } }),
      /must not combine ceil_mode 1 with count_include_pad 1/,
    ],
    'a convolution of volumes': [
      modelWith('Conv', { others: [[2, 2, 1, 1]], attributes: { kernel_shape: [1, 1, 1] } }),
      /must work on one or two spatial axes/,
    ],
    'ConvTranspose to a given size': [
      modelWith('ConvTranspose', { others: [[2, 2, 1, 1]], attributes: { output_shape: [4, 4] } }),
      /must have no output_shape/,
    ],
    'ConvTranspose with automatic padding': [
      modelWith('ConvTranspose', { others: [[2, 2, 1, 1]], attributes: { auto_pad: 'SAME_UPPER' } }),
      /must have auto_pad NOTSET or VALID, got SAME_UPPER/,
    ],
    'an unknown mode of Pad': [modelWith('Pad', { attributes: { mode: 'zigzag' } }), /must have mode .*, got zigzag/],
    'an unknown kind of Gelu': [
      modelWith('Gelu', { attributes: { approximate: 'rough' }, opset: 20 }),
      /must have approximate none or tanh, got rough/,
    ],
    'a cast to half precision': [
      modelWith('Cast', { attributes: { to: 10 } }),
      /must cast to float32, int32, int64 or bool, got float16; export the model in float32/,
    ],
    'a Dropout whose mask is used': [modelWith('Dropout', { outputs: 2 }), /\(Dropout\) must have no second output/],
    'Softmax before the loss, over another axis': [
      modelWith('Softmax', { attributes: { axis: 1 } }),
      /\(Softmax\) must be over the last axis, got axis 1/,
    ],
    'Softmax before the loss, of old, which takes all axes from 1': [
      modelWith('Softmax', { opset: 11 }),
      /\(Softmax\) must be over the last axis, got axis 1/,
    ],
  }
  for (const [title, [model, message]] of Object.entries(cases)) {
    it(title, async () => {
      expect(await refusalOf(model, title.startsWith('Softmax') ? { loss: 'crossEntropy' } : {})).toMatch(message)
    })
  }
})

describe('a model that cannot be trained is refused before anything runs', () => {
  const affine = affineModel({ weights: [[1], [2]], bias: [0] })

  it('of an opset that is too new or too old', async () => {
    expect(await refusalOf(modelWith('Relu', { opset: 23 }))).toMatch(/opset must be from 7 to 22, got 23 \(export/)
    expect(await refusalOf(modelWith('Relu', { opset: 6 }))).toMatch(/opset must be from 7 to 22, got 6/)
  })

  it('without parameters', async () => {
    expect(await refusalOf(affine, { trainable: () => false })).toMatch(/"y" must depend on a float32 initializer/)
    const masked = modelOf({
      input: [tensorInfo('x', 'float32', ['N', 2])],
      output: [tensorInfo('y', 'float32', ['N', 2])],
      initializer: [toTensorProto('m', Tensor.from('float32', [2], [1, 0]))],
      node: [node('Greater', ['x', 'm'], ['c']), node('Where', ['c', 'x', 'x'], ['y'])],
    })
    expect(await refusalOf(masked)).toMatch(/must depend on a float32 initializer/)
  })

  it('with parameters in another precision', async () => {
    for (const dtype of ['float16', 'float64'] as const) {
      const model = modelOf({
        input: [tensorInfo('x', dtype, ['N', 2])],
        output: [tensorInfo('y', dtype, ['N', 2])],
        initializer: [toTensorProto('w', Tensor.from(dtype, [2], [1, 1]))],
        node: [node('Mul', ['x', 'w'], ['y'])],
      })
      expect(await refusalOf(model)).toMatch(new RegExp(`"w" must be float32, got ${dtype} \\(export it in float32\\)`))
    }
  })

  it('with inputs in another precision', async () => {
    const model = modelOf({
      input: [tensorInfo('x', 'uint8', ['N', 2])],
      output: [tensorInfo('y', 'float32', ['N', 2])],
      initializer: [toTensorProto('w', Tensor.from('float32', [2], [1, 1]))],
      node: [node('Cast', ['x'], ['f'], { to: 1 }), node('Mul', ['f', 'w'], ['y'])],
    })
    expect(await refusalOf(model)).toMatch(/input "x" must be float32, int32, int64 or bool, got uint8/)
  })

  it('with several outputs, none of them named', async () => {
    const model = modelOf({
      input: [tensorInfo('x', 'float32', ['N', 2])],
      output: [tensorInfo('y', 'float32', ['N', 2]), tensorInfo('z', 'float32', ['N', 2])],
      initializer: [toTensorProto('w', Tensor.from('float32', [2], [1, 1]))],
      node: [node('Mul', ['x', 'w'], ['y']), node('Neg', ['y'], ['z'])],
    })
    expect(await refusalOf(model)).toMatch(/output to train on must be named .* got "y", "z"/)
    expect(await refusalOf(model, { output: 'z' })).toMatch(/it was run/)
  })

  it('at a batch that is none, or not its own, or with an axis of no size', async () => {
    for (const batch of [0, -1, 1.5, NaN]) {
      expect(await refusalOf(affine, { batch })).toMatch(/batch must be a whole number from 1 up, got/)
    }
    const fixed = affineModel({ weights: [[1], [2]], bias: [0] }, 8)
    expect(await refusalOf(fixed)).toMatch(/axis 0 of input "x" must be free or 2, got 8 \(export it with a free batch/)
    const sequences = modelOf({
      input: [tensorInfo('x', 'float32', ['N', 'length', ''])],
      output: [tensorInfo('y', 'float32', ['N', 'length', ''])],
      initializer: [toTensorProto('w', Tensor.from('float32', [1], [1]))],
      node: [node('Mul', ['x', 'w'], ['y'])],
    })
    expect(await refusalOf(sequences)).toMatch(/free axis 1 of input "x" must have a size, .*axes: { "length": SIZE }/)
    expect(await refusalOf(sequences, { axes: { length: 3 } })).toMatch(/axes: { "x.2": SIZE }/)
    expect(await refusalOf(sequences, { axes: { length: 3, 'x.2': 2 } })).toMatch(/it was run/)
  })

  it('for an unknown loss', async () => {
    expect(await refusalOf(affine, { loss: 'hinge' as never })).toMatch(
      /loss must be one of crossEntropy, .*, got "hinge"/,
    )
  })
})
