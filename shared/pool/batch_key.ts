import type { Tensor } from '../wire/tensor.ts'

/** Samples along axis 0 of a call's inputs; 1 where they have none. */
export function rowsOf(inputs: Record<string, Tensor>): number {
  for (const name in inputs) return inputs[name]?.shape[0] ?? 1
  return 1
}

/**
 * What two calls must share to be joined along axis 0: input names, dtypes and all dimensions but the first.
 * Undefined where the call cannot be joined: no inputs, a scalar, no rows, or inputs of unequal length.
 */
export function batchKeyOf(inputs: Record<string, Tensor>): string | undefined {
  const rows = rowsOf(inputs)
  const entries = Object.entries(inputs)
  if (entries.length === 0 || rows === 0) return undefined
  let key = ''
  for (const [name, tensor] of entries.sort(([a], [b]) => a < b ? -1 : 1)) {
    if (tensor.shape.length === 0 || tensor.shape[0] !== rows) return undefined
    // With its length, or a name could be chosen that reads like two inputs.
    key += `${name.length}:${name}:${tensor.dtype}[${tensor.shape.slice(1)}];`
  }
  return key
}
