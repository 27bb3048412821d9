import { invalid } from '../../../shared/wire/errors.ts'
import type { ModelManifest } from '../../../shared/wire/signature.ts'
import { product, Tensor } from '../../../shared/wire/tensor.ts'

/**
 * The classes with the highest values of an output, as Triton's classification extension writes them: BYTES of
 * `value:index`, and `:label` where the model has labels. One list for each row of a batch, the highest first.
 * @param count how many of each row, fewer if it has fewer
 * @returns of shape [rows, count], or [count] where the output has no batch axis
 */
export function classify(manifest: ModelManifest, output: string, tensor: Tensor, count: number): Tensor {
  if (tensor.dtype === 'string' || tensor.dtype === 'bool') {
    throw invalid(`Cannot classify "${output}" of "${manifest.name}": it must be numbers, got ${tensor.dtype}`)
  }
  const batched = manifest.signature.batchable && tensor.shape.length > 0
  const rows = batched ? tensor.shape[0] ?? 0 : 1
  const classes = product(batched ? tensor.shape.slice(1) : tensor.shape)
  const taken = Math.min(count, classes)
  const values = tensor.data as ArrayLike<number | bigint>
  const texts: string[] = []
  for (let row = 0; row < rows; row++) {
    const valueOf = (index: number) => values[row * classes + index] ?? NaN
    // What is no number comes last, or the order would be none.
    const rankOf = (index: number) => Number.isNaN(valueOf(index)) ? -Infinity : valueOf(index)
    const order = Array.from({ length: classes }, (_, index) => index)
      .sort((a, b) => rankOf(a) < rankOf(b) ? 1 : rankOf(a) > rankOf(b) ? -1 : a - b)
    for (const index of order.slice(0, taken)) {
      const label = manifest.labels?.[index]
      texts.push(`${valueOf(index)}:${index}${label === undefined ? '' : `:${label}`}`)
    }
  }
  return Tensor.from('string', batched ? [rows, taken] : [taken], texts)
}
