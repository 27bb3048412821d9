import type { Random } from '../../../shared/base/random.ts'
import { type DType, DTYPE_LIST, DTYPES } from '../../../shared/wire/dtype.ts'
import { product, Tensor } from '../../../shared/wire/tensor.ts'

type Tensors = Record<string, Tensor>

/**
 * A model for tests whose every row depends on the same row of its inputs and on nothing else: each input comes back
 * with its bytes inverted (strings reversed), beside a checksum and a label made of all inputs' rows.
 */
export function runRowwise(inputs: Tensors): Tensors {
  const rows = Object.values(inputs)[0]?.shape[0] ?? 1
  const outputs: Tensors = {}
  const sums = new Float64Array(rows * 2)
  for (const [name, tensor] of Object.entries(inputs)) {
    const perRow = product(tensor.shape.slice(1))
    if (tensor.dtype === 'string') {
      const values = tensor.data as string[]
      values.forEach((value, i) => add(sums, Math.floor(i / perRow), value.length + 1))
      outputs[`${name}_out`] = Tensor.from('string', tensor.shape, values.map((value) => [...value].reverse().join('')))
    } else {
      const rowBytes = perRow * DTYPES[tensor.dtype].bytes
      tensor.bytes.forEach((byte, i) => add(sums, Math.floor(i / rowBytes), byte + 1))
      outputs[`${name}_out`] = new Tensor(tensor.dtype, tensor.shape, tensor.bytes.map((byte) => byte ^ 0xff))
    }
  }
  outputs.sum = Tensor.from('float64', [rows, 2], sums)
  outputs.label = Tensor.from('string', [rows], Array.from({ length: rows }, (_, row) => `Σ=${sums[2 * row]}`))
  return outputs
}

function add(sums: Float64Array, row: number, value: number): void {
  sums[2 * row] = (sums[2 * row] ?? 0) + value
  sums[2 * row + 1] = (sums[2 * row + 1] ?? 0) * 0.5 + value
}

/** Names, dtypes and inner sizes of a call's inputs: calls of one kind may be joined. */
export type Kind = readonly { name: string; dtype: DType; inner: readonly number[] }[]

/** A kind with one to three inputs of any dtype and up to three inner dimensions, some of them empty. */
export function randomKind(random: Random): Kind {
  const below = (count: number) => Math.floor(random() * count)
  return Array.from({ length: 1 + below(3) }, (_, i) => ({
    name: `in ${i}`,
    dtype: DTYPE_LIST[below(DTYPE_LIST.length)] ?? 'float32',
    inner: Array.from({ length: below(4) }, () => random() < 0.05 ? 0 : 1 + below(3)),
  }))
}

export function randomInputs(kind: Kind, rows: number, random: Random): Tensors {
  const inputs: Tensors = {}
  for (const { name, dtype, inner } of kind) {
    const shape = [rows, ...inner]
    if (dtype === 'string') {
      inputs[name] = Tensor.from(dtype, shape, Array.from({ length: product(shape) }, () => randomText(random)))
    } else {
      const bytes = new Uint8Array(product(shape) * DTYPES[dtype].bytes).map(() => Math.floor(random() * 256))
      inputs[name] = new Tensor(dtype, shape, bytes)
    }
  }
  return inputs
}

const LETTERS = ['a', 'ß', '鯨', '🐟', '\0']

function randomText(random: Random): string {
  return Array.from({ length: Math.floor(random() * 4) }, () => LETTERS[Math.floor(random() * LETTERS.length)]).join('')
}

/** Tensors as values that compare equal only if dtype, shape and every byte do. */
export function exactly(tensors: Tensors): Record<string, string> {
  const entries = Object.entries(tensors).map((
    [name, { dtype, shape, bytes }],
  ) => [name, `${dtype}[${shape}] ${bytes}`])
  return Object.fromEntries(entries.sort())
}
