import type { Bytes } from '../../shared/base/bytes.ts'
import { node, tensorInfo, toTensorProto } from '../../shared/models/onnx.ts'
import type { DType } from '../../shared/wire/dtype.ts'
import type { Tensor } from '../../shared/wire/tensor.ts'
import { modelOf, type Shape } from '../fixtures/models.ts'

type Weights = Readonly<Record<string, Tensor>>

/** One operator from inputs and then weights to the output y. */
export function oneNode(
  op: string,
  inputs: readonly [name: string, dtype: DType, shape: Shape][],
  output: [dtype: DType, shape: Shape],
  weights: Weights = {},
): Bytes {
  return modelOf({
    node: [node(op, [...inputs.map(([name]) => name), ...Object.keys(weights)], ['y'])],
    input: inputs.map(([name, dtype, shape]) => tensorInfo(name, dtype, shape)),
    output: [tensorInfo('y', ...output)],
    initializer: initializers(weights),
  })
}

/** y = softmax(relu(x·w1 + b1)·w2 + b2), x [N, rows of w1]: numbers that a wrong kernel would get wrong. */
export function network(weights: { w1: Tensor; b1: Tensor; w2: Tensor; b2: Tensor }): Bytes {
  return modelOf({
    node: [
      node('MatMul', ['x', 'w1'], ['h1']),
      node('Add', ['h1', 'b1'], ['h2']),
      node('Relu', ['h2'], ['h3']),
      node('MatMul', ['h3', 'w2'], ['h4']),
      node('Add', ['h4', 'b2'], ['h5']),
      node('Softmax', ['h5'], ['y'], { axis: -1 }),
    ],
    input: [tensorInfo('x', 'float32', ['N', weights.w1.shape[0] ?? 0])],
    output: [tensorInfo('y', 'float32', ['N', weights.w2.shape[1] ?? 0])],
    initializer: initializers(weights),
  })
}

function initializers(weights: Weights) {
  return Object.entries(weights).map(([name, tensor]) => toTensorProto(name, tensor))
}

/** y = conv(x, w), x [N, C, 5, 5], w [M, C/group, 3, 3], padded by one: shapes that some kernels get wrong. */
export function convolution(weights: Tensor, group: number): Bytes {
  const [outputs = 0, each = 0] = weights.shape
  return modelOf({
    node: [node('Conv', ['x', 'w'], ['y'], { kernel_shape: [3, 3], pads: [1, 1, 1, 1], group })],
    input: [tensorInfo('x', 'float32', ['N', each * group, 5, 5])],
    output: [tensorInfo('y', 'float32', ['N', outputs, 5, 5])],
    initializer: initializers({ w: weights }),
  })
}
