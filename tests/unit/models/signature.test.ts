import { assert } from 'chai'
import { describe, it } from 'vitest'
import { readDemoModel } from '../../../functions/demo/files.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { encode } from '../../../shared/models/onnx_codec.ts'
import { type MessageInit, node, tensorInfo, toTensorProto } from '../../../shared/models/onnx.ts'
import { readSignature } from '../../../shared/models/signature.ts'
import { DTYPE_LIST } from '../../../shared/wire/dtype.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import {
  affineModel,
  fixedModel,
  identityModel,
  modelOf,
  pairModel,
  type Shape,
  transposeModel,
} from '../../fixtures/models.ts'
import { assertRefused } from './refusal.ts'

const batchable = (inputs: Shape[], outputs: Shape[]) =>
  readSignature(modelOf({
    input: inputs.map((shape, i) => tensorInfo(`x${i}`, 'float32', shape)),
    output: outputs.map((shape, i) => tensorInfo(`y${i}`, 'float32', shape)),
  })).signature.batchable

const refused = (graph: MessageInit<'GraphProto'>, message: RegExp, model: MessageInit<'ModelProto'> = {}) => {
  const y = tensorInfo('y', 'float32', ['N'])
  const file = modelOf({ output: [y], ...graph }, model)
  assertRefused(() => readSignature(file), message)
  assertRefused(() => readSignature(file), /^Cannot read the model: /)
}

describe('readSignature', () => {
  it('gives names, dtypes, shapes and axes', () => {
    const { signature, opset } = readSignature(affineModel({ weights: [[1], [2], [3]], bias: [0] }))
    assert.equal(opset, 17)
    assert.deepEqual(signature, {
      inputs: [{ name: 'x', dtype: 'float32', shape: [-1, 3], axes: ['N', ''] }],
      outputs: [{ name: 'y', dtype: 'float32', shape: [-1, 1], axes: ['N', ''] }],
      batchable: true,
    })
  })

  it('reads every dtype', () => {
    for (const dtype of DTYPE_LIST) assert.equal(readSignature(identityModel(dtype)).signature.inputs[0]?.dtype, dtype)
  })

  it('reads the demo model', async () => {
    const { signature, opset } = readSignature(await readDemoModel())
    assert.equal(opset, 17)
    assert.isTrue(signature.batchable)
    assert.deepEqual(signature.inputs, [
      { name: 'image', dtype: 'float32', shape: [-1, 3, -1, -1], axes: ['N', '', 'H', 'W'] },
    ])
    assert.deepEqual(signature.outputs.map(({ name }) => name), ['outlines', 'cartoon', 'color'])
  })

  it('does not count an input with an initializer, dense or sparse, as an input', () => {
    const sparse = encode('SparseTensorProto', {
      values: toTensorProto('s', Tensor.from('float32', [1], [5])),
      indices: toTensorProto('', Tensor.from('int64', [1], [0])),
      dims: [3],
    })
    const { signature } = readSignature(modelOf({
      input: ['w', 's', 'x'].map((name) => tensorInfo(name, 'float32', [3])),
      output: [tensorInfo('y', 'float32', [3])],
      initializer: [toTensorProto('w', Tensor.from('float32', [3], [1, 2, 3]))],
      sparseInitializer: [sparse],
    }))
    assert.deepEqual(signature.inputs.map(({ name }) => name), ['x'])
  })

  it('takes a negative size, as old exporters write it, for a free one', () => {
    const { signature } = readSignature(identityModel('float32', [-1, 3]))
    assert.deepEqual(signature.inputs[0]?.shape, [-1, 3])
    assert.deepEqual(signature.inputs[0]?.axes, ['', ''])
  })

  it('reads the highest opset of the default domain', () => {
    const opsetImport = [{ domain: 'com.microsoft', version: 99 }, { domain: 'ai.onnx', version: 21 }]
    const y = tensorInfo('y', 'float32', [1])
    assert.equal(readSignature(modelOf({ output: [y] }, { opsetImport })).opset, 21)
  })
})

describe('batchable', () => {
  it('needs one named free axis in front of every input and output', () => {
    assert.isTrue(batchable([['N', 3]], [['N']]))
    assert.isTrue(batchable([['N', 3], ['N', 'T']], [['N', 'T'], ['N']]))
    assert.isTrue(readSignature(pairModel()).signature.batchable)

    assert.isFalse(batchable([['N', 3]], [['M', 3]]), 'other name in the output')
    assert.isFalse(batchable([['N', 3], [3, 3]], [['N', 3]]), 'a fixed input')
    assert.isFalse(batchable([['N', 3]], [['N', 3], []]), 'a scalar output')
    assert.isFalse(batchable([['N', 3]], [[3, 'N']]), 'not in front')
    assert.isFalse(batchable([], [['N', 3]]), 'no input')
    assert.isFalse(readSignature(fixedModel()).signature.batchable)
    assert.isFalse(readSignature(transposeModel()).signature.batchable)
  })

  it('is not promised by an axis without a name', () => {
    assert.isFalse(batchable([['', 3]], [['', 3]]))
    assert.isFalse(batchable([['']], [['']]))
  })

  it('is not given where the axis stands a second time, as in an adjacency matrix', () => {
    assert.isFalse(batchable([['N', 3], ['N', 'N']], [['N', 3]]))
    assert.isFalse(batchable([['N', 3]], [['N', 'N']]))
  })
})

describe('what pools must know', () => {
  const draws = (opType: string, inputs = ['x']) => node(opType, inputs, ['y'])
  const traitsOf = (graph: MessageInit<'GraphProto'>, model: MessageInit<'ModelProto'> = {}) => {
    const { largestTensorBytes, deterministic } = readSignature(
      modelOf({ output: [tensorInfo('y', 'float32', ['N'])], ...graph }, model),
    )
    return { largestTensorBytes, deterministic }
  }
  const weight = (name: string, dims: readonly number[]) => ({ name, dims, dataType: 1 })

  it('the largest weight has the bytes that its shape says, wherever its values are', () => {
    const initializer = [weight('a', [3, 5]), weight('b', [1024, 1024, 300]), weight('c', [])]
    assert.equal(traitsOf({ initializer }).largestTensorBytes, 4 * 1024 * 1024 * 300)
    const inner = { node: [draws('Identity')], initializer: [weight('d', [1024, 1024, 400])] }
    const branch = node('If', ['c'], ['y'])
    const attribute = [{ name: 'then_branch', type: 5, g: inner }]
    assert.equal(traitsOf({ initializer, node: [{ ...branch, attribute }] }).largestTensorBytes, 4 * 1024 * 1024 * 400)
    assert.equal(traitsOf({}).largestTensorBytes, 0)
    const packed = [{ name: 'q', dims: [1001], dataType: 22 }]
    assert.equal(traitsOf({ initializer: packed }).largestTensorBytes, 501)
    const absurd = [weight('e', [2 ** 31, 2 ** 31, 2 ** 31])]
    assert.equal(traitsOf({ initializer: absurd }).largestTensorBytes, Number.MAX_SAFE_INTEGER)
    assert.equal(traitsOf({ initializer: [weight('f', [-5, 7])] }).largestTensorBytes, 0)
  })

  it('a model that draws numbers is not deterministic, wherever it does', () => {
    assert.isTrue(traitsOf({ node: [draws('Relu'), draws('Dropout', ['x', 'ratio'])] }).deterministic)
    for (const opType of ['RandomNormal', 'RandomNormalLike', 'RandomUniformLike', 'Multinomial', 'Bernoulli']) {
      assert.isFalse(traitsOf({ node: [draws(opType)] }).deterministic, opType)
    }
    assert.isFalse(traitsOf({ node: [draws('Dropout', ['x', '', 'training'])] }).deterministic)
    const g = { node: [draws('RandomUniform', [])] }
    const loop = { ...draws('Loop'), attribute: [{ name: 'body', type: 5, g }] }
    assert.isFalse(traitsOf({ node: [loop] }).deterministic)
    const functions = [encode('FunctionProto', { node: [draws('Bernoulli')] })]
    assert.isFalse(traitsOf({ node: [draws('Mine')] }, { functions }).deterministic)
  })
})

describe('models that are refused', () => {
  it('not ONNX', () => {
    assertRefused(
      () => readSignature(new TextEncoder().encode('{}')),
      /^Cannot read the model: expected an ONNX file \(protobuf ModelProto with a graph\), got JSON$/,
    )
  })

  it('too new, or of no version', () => {
    refused({}, /IR version must be from 1 to 13, got 14/, { irVersion: 14 })
    refused({}, /IR version must be from 1 to 13, got 0/, { irVersion: 0 })
    refused({}, /opset must be from 1 to 26, got 27/, { opsetImport: [{ version: 27 }] })
    refused({}, /must import the default ONNX opset, got none/, { opsetImport: [{ domain: 'mine', version: 1 }] })
  })

  it('without outputs', () => refused({ output: [] }, /must have an output, got none/))

  it('values that are not tensors', () => {
    const bytes = new Uint8Array(0)
    refused({ input: [{ name: 's', type: { sequenceType: bytes } }] }, /input "s" must be a tensor, got a sequence/)
    refused({ output: [{ name: 'm', type: { mapType: bytes } }] }, /output "m" must be a tensor, got a map/)
    refused({ input: [{ name: 'o', type: { optionalType: bytes } }] }, /input "o" must be a tensor, got an optional/)
    refused({ input: [{ name: 'p', type: { sparseTensorType: bytes } }] }, /"p" must be a tensor, got a sparse/)
    refused({ input: [{ name: 'q', type: { opaqueType: bytes } }] }, /"q" must be a tensor, got an opaque/)
    refused({ input: [{ name: 'x' }] }, /input "x" must be a tensor, got a value without a type/)
  })

  it('types that calls cannot carry', () => {
    const typed = (elemType: number): MessageInit<'GraphProto'> => ({
      input: [{ name: 'x', type: { tensorType: { elemType, shape: {} } } }],
    })
    refused(typed(22), /input "x" must have one of the types bool, .*, string, got int4 \(cast it inside the model\)/)
    refused(typed(16), /got bfloat16/)
    refused(typed(77), /got number 77/)
  })

  it('shapes that are unknown or too long', () => {
    refused({ output: [{ name: 'y', type: { tensorType: { elemType: 1 } } }] }, /output "y" must declare its shape/)
    refused({ input: [tensorInfo('x', 'float32', Array(17).fill(1))] }, /"x" must have at most 16 dimensions, got 17/)
  })

  it('names that are missing, double or endless', () => {
    const x = tensorInfo('x', 'float32', [1])
    refused({ input: [x, x] }, /input "x" is declared twice/)
    refused({ input: [tensorInfo('', 'float32', [1])] }, /each input must have a name of 1 to 200 characters, got 0/)
    const long = 'n'.repeat(LIMITS.maxNameLength + 1)
    refused({ input: [tensorInfo(long, 'float32', [1])] }, /each input must have a name .* got 201/)
    refused({ input: [tensorInfo('x', 'float32', [long])] }, /input "x" must name its axes with at most 200 characters/)
    const many = Array.from({ length: LIMITS.maxTensors + 1 }, (_, i) => tensorInfo(`x${i}`, 'float32', [1]))
    refused({ input: many }, /at most 1024 inputs, got 1025/)
  })
})

describe('data in other files are refused wherever they hide', () => {
  const tensor: MessageInit<'TensorProto'> = {
    name: 'w',
    dims: [1],
    dataType: 1,
    dataLocation: 1,
    externalData: [{ key: 'location', value: '../../etc/passwd' }],
  }
  const sparse = encode('SparseTensorProto', { values: tensor })
  const holder: MessageInit<'NodeProto'> = {
    opType: 'Constant',
    name: 'c',
    attribute: [{ name: 'value', type: 4, t: tensor }],
  }
  const graph: MessageInit<'GraphProto'> = { node: [holder] }

  it('in an initializer, with the remedy', () => {
    refused(
      { initializer: [tensor] },
      /external data must come with it, got initializer "w" stored in the file "..\/..\/etc\/passwd" \(.*save it as one file: /,
    )
    const { dataLocation: _, ...unmarked } = tensor
    refused({ initializer: [unmarked] }, /external data must come with it/)
    refused({ initializer: [{ name: 'w', dataLocation: 1 }] }, /external data must come with it/)
  })

  it('in attributes and subgraphs', () => {
    refused(graph, /got attribute "value" of node "c" \(Constant\) stored in/)
    refused({ node: [{ attribute: [{ tensors: [tensor] }] }] }, /external data/)
    refused({ node: [{ attribute: [{ g: graph }] }] }, /external data/)
    refused({ node: [{ attribute: [{ graphs: [{}, graph] }] }] }, /external data/)
    refused({ node: [node('If', [], [], { body: { graph: { initializer: [tensor] } } })] }, /external data/)
  })

  it('in sparse tensors, functions and training graphs', () => {
    refused({ sparseInitializer: [sparse] }, /external data/)
    refused({ node: [{ attribute: [{ sparseTensor: sparse }] }] }, /external data/)
    refused({ node: [{ attribute: [{ sparseTensors: [sparse] }] }] }, /external data/)
    refused({}, /external data/, { functions: [encode('FunctionProto', { node: [holder] })] })
    refused({}, /external data/, { trainingInfo: [encode('TrainingInfoProto', { algorithm: graph })] })
    refused({}, /external data/, { trainingInfo: [encode('TrainingInfoProto', { initialization: graph })] })
    refused({}, /its FunctionProto does not parse/, { functions: [Uint8Array.of(0x3a, 0x7f)] })
  })
})
