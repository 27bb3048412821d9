import { RpcError } from '../wire/errors.ts'
import { Tensor } from '../wire/tensor.ts'
import type { OptimizerState } from './optimizers.ts'

/** An optimizer's state as named tensors: vectors are float32, numbers one float64. Paths are joined by dots. */
export function flattenState(state: OptimizerState): Record<string, Tensor> {
  const tensors: Record<string, Tensor> = {}
  const visit = (branch: OptimizerState, prefix: string) => {
    for (const [name, value] of Object.entries(branch)) {
      const path = prefix + name
      if (typeof value === 'number') tensors[path] = Tensor.from('float64', [1], [value])
      else if (value instanceof Float32Array) tensors[path] = Tensor.from('float32', [value.length], value)
      else visit(value, `${path}.`)
    }
  }
  visit(state, '')
  return tensors
}

/**
 * The state that was flattened.
 * @param like a fresh state of the same optimizer, which says what there must be
 * @throws RpcError `data_loss` if a tensor is missing or of another size
 */
export function restoreState(like: OptimizerState, tensors: Readonly<Record<string, Tensor>>): OptimizerState {
  const visit = (branch: OptimizerState, prefix: string): OptimizerState =>
    Object.fromEntries(
      Object.entries(branch).map(([name, value]) => {
        const path = prefix + name
        if (typeof value === 'object' && !(value instanceof Float32Array)) return [name, visit(value, `${path}.`)]
        const tensor = tensors[path]
        const [dtype, size] = typeof value === 'number' ? ['float64', 1] as const : ['float32', value.length] as const
        if (tensor?.dtype !== dtype || tensor.size !== size) {
          throw new RpcError('data_loss', `Cannot restore the optimizer: "${path}" must be ${dtype} [${size}]`)
        }
        const data = tensor.data as Float32Array
        // A copy: the file that it is a view of may be large.
        return [name, typeof value === 'number' ? data[0] ?? NaN : data.slice()]
      }),
    )
  return visit(like, '')
}
