import { concat } from '../base/bytes.ts'
import { RpcError } from '../wire/errors.ts'
import { product, Tensor } from '../wire/tensor.ts'
import { DTYPES } from '../wire/dtype.ts'
import { rowsOf } from './batch_key.ts'

type Inputs = Record<string, Tensor>

/**
 * Joins calls along axis 0 into the inputs of one run, padded with zeros to the next power of two: a GPU compiles
 * shaders per shape, so a few sizes stay warm where every size would not.
 * @param calls inputs of equal names, dtypes and inner dimensions
 * @returns the joined inputs, and how many rows each call gave
 */
export function joinCalls(calls: readonly { inputs: Inputs }[]): { inputs: Inputs; rows: number[] } {
  const [first] = calls
  if (!first) throw new RpcError('internal', 'Cannot join calls: there must be at least one')
  const rows = calls.map(({ inputs }) => rowsOf(inputs))
  if (calls.length === 1) return { inputs: first.inputs, rows }
  const total = rows.reduce((sum, count) => sum + count, 0)
  const padded = 2 ** Math.ceil(Math.log2(total))
  const joined: Inputs = {}
  for (const [name, tensor] of Object.entries(first.inputs)) {
    const parts = calls.map(({ inputs }) => inputs[name]?.bytes ?? missing(name))
    const inner = tensor.shape.slice(1)
    if (tensor.dtype !== 'string') {
      parts.push(new Uint8Array((padded - total) * product(inner) * DTYPES[tensor.dtype].bytes))
    } // A string tensor's padding is as many empty strings, each a length of four zero bytes.
    else parts.push(new Uint8Array((padded - total) * product(inner) * 4))
    joined[name] = new Tensor(tensor.dtype, [padded, ...inner], concat(parts))
  }
  return { inputs: joined, rows }
}

/** Cuts the outputs of a joined run into one set per call; the data are views of the run's outputs. */
export function cutCalls(outputs: Inputs, rows: readonly number[]): { outputs: Inputs }[] {
  if (rows.length === 1) return [{ outputs }]
  const cut = rows.map((): { outputs: Inputs } => ({ outputs: {} }))
  for (const [name, tensor] of Object.entries(outputs)) {
    if (tensor.dtype === 'string') cutStrings(name, tensor, rows, cut)
    else {
      const rowBytes = tensor.bytes.byteLength / (tensor.shape[0] || 1)
      let offset = 0
      for (const [i, count] of rows.entries()) {
        const part = tensor.bytes.subarray(offset, offset + count * rowBytes)
        const target = cut[i]
        if (target) target.outputs[name] = new Tensor(tensor.dtype, [count, ...tensor.shape.slice(1)], part)
        offset += count * rowBytes
      }
    }
  }
  return cut
}

function cutStrings(name: string, tensor: Tensor, rows: readonly number[], cut: { outputs: Inputs }[]): void {
  const values = tensor.data as string[]
  const perRow = product(tensor.shape.slice(1))
  let row = 0
  for (const [i, count] of rows.entries()) {
    const part = values.slice(row * perRow, (row + count) * perRow)
    const target = cut[i]
    if (target) target.outputs[name] = Tensor.from('string', [count, ...tensor.shape.slice(1)], part)
    row += count
  }
}

function missing(name: string): never {
  throw new RpcError('invalid_argument', `Cannot join calls: input "${name}" is missing in one of them`)
}
