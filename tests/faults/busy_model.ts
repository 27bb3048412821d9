import type { Bytes } from '../../shared/base/bytes.ts'
import { node, tensorInfo, toTensorProto } from '../../shared/models/onnx.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { type Affine, modelOf } from '../fixtures/models.ts'

/** Side of the matrices that keep it busy: some ten million multiplications, milliseconds on any device. */
const SIDE = 256

/**
 * `x` [1, inputs] → `y` = x·W + b, as `affineModel`, after work that a runtime cannot leave out: it adds 0, but only
 * because of what x is. Calls are not joined.
 * @param side 1024: about a second of work
 */
export function busyModel({ weights, bias }: Affine, side: number = SIDE): Bytes {
  const [inputs, outputs] = [weights.length, bias.length]
  return modelOf({
    input: [tensorInfo('x', 'float32', [1, inputs])],
    output: [tensorInfo('y', 'float32', [1, outputs])],
    initializer: [
      toTensorProto('w', Tensor.from('float32', [inputs, outputs], weights.flat())),
      toTensorProto('b', Tensor.from('float32', [outputs], bias)),
      toTensorProto('square', Tensor.from('int64', [2], [BigInt(side), BigInt(side)])),
      toTensorProto('zero', Tensor.from('float32', [1, 1], [0])),
    ],
    node: [
      node('Gemm', ['x', 'w', 'b'], ['affine']),
      node('ReduceMean', ['x'], ['mean'], { keepdims: 1 }),
      node('Expand', ['mean', 'square'], ['matrix']),
      node('MatMul', ['matrix', 'matrix'], ['product']),
      node('ReduceMean', ['product'], ['again'], { keepdims: 1 }),
      node('Mul', ['again', 'zero'], ['nothing']),
      node('Add', ['affine', 'nothing'], ['y']),
    ],
  })
}
