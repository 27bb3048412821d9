import { concat } from '../base/bytes.ts'
import { DTYPES } from '../wire/dtype.ts'
import { RpcError } from '../wire/errors.ts'
import { product, Tensor } from '../wire/tensor.ts'
import { rowsOf } from './batch_key.ts'

type Tensors = Record<string, Tensor>

/**
 * Joins calls along axis 0 into the inputs of one run. A single call stays as it is.
 * @param calls inputs of equal names, dtypes and inner dimensions
 * @returns the joined inputs, and how many rows each call gave
 * @throws RpcError `invalid_argument` if the calls do not go together
 */
export function joinCalls(calls: readonly { inputs: Tensors }[]): { inputs: Tensors; rows: number[] } {
  const [first] = calls
  if (!first) throw new RpcError('internal', 'Cannot join calls: there must be at least one')
  const rows = calls.map(({ inputs }) => rowsOf(inputs))
  if (calls.length === 1) return { inputs: first.inputs, rows }
  const total = sum(rows)
  const names = Object.keys(first.inputs)
  const joined: Tensors = {}
  for (const name of names) {
    const parts = calls.map(({ inputs }, i) => partOf(inputs, name, first.inputs[name], rows[i] ?? 0))
    const { dtype, shape } = first.inputs[name] ?? refuse(name)
    joined[name] = new Tensor(dtype, [total, ...shape.slice(1)], concat(parts))
  }
  const extra = calls.find(({ inputs }) => Object.keys(inputs).length !== names.length)
  if (extra) refuse(Object.keys(extra.inputs).find((name) => !names.includes(name)) ?? '')
  return { inputs: joined, rows }
}

/**
 * Cuts the outputs of a joined run into one set per call; the data are views of the run's outputs.
 * @throws RpcError `failed_precondition` if an output has not one row for each of the run's
 */
export function cutCalls(outputs: Tensors, rows: readonly number[]): { outputs: Tensors }[] {
  if (rows.length === 1) return [{ outputs }]
  const total = sum(rows)
  const cut = rows.map((): { outputs: Tensors } => ({ outputs: {} }))
  for (const [name, tensor] of Object.entries(outputs)) {
    requireRows(name, tensor, total)
    const inner = tensor.shape.slice(1)
    const rowEnds = tensor.dtype === 'string' ? stringRowEnds(tensor.bytes, product(inner)) : undefined
    const rowBytes = tensor.bytes.byteLength / (total || 1)
    let row = 0
    let offset = 0
    for (const [i, count] of rows.entries()) {
      row += count
      const end = rowEnds ? rowEnds[row] ?? 0 : row * rowBytes
      const target = cut[i]
      if (target) {
        target.outputs[name] = new Tensor(tensor.dtype, [count, ...inner], tensor.bytes.subarray(offset, end))
      }
      offset = end
    }
  }
  return cut
}

/**
 * Pads the inputs of a joined run with zeros to the next power of two rows: a GPU compiles shaders per shape, so a few
 * sizes stay warm where every size would not. The worker does it: padding is nothing to send over a network.
 * @param rows of every input
 * @param padded to so many, where not to the next power of two
 */
export function padRows(inputs: Tensors, rows: number, padded: number = paddedRows(rows)): Tensors {
  if (padded === rows) return inputs
  const result: Tensors = {}
  for (const [name, tensor] of Object.entries(inputs)) {
    requireRows(name, tensor, rows)
    const inner = tensor.shape.slice(1)
    // A string tensor's padding is as many empty strings, each a length of four zero bytes.
    const elementBytes = tensor.dtype === 'string' ? 4 : DTYPES[tensor.dtype].bytes
    const padding = new Uint8Array((padded - rows) * product(inner) * elementBytes)
    result[name] = new Tensor(tensor.dtype, [padded, ...inner], concat([tensor.bytes, padding]))
  }
  return result
}

/** Zeros (empty strings) for a run of so many rows, padded, like the inputs of another in all else. */
export function zerosLike(inputs: Tensors, rows: number): Tensors {
  const none: Tensors = {}
  for (const [name, { dtype, shape }] of Object.entries(inputs)) {
    none[name] = new Tensor(dtype, [0, ...shape.slice(1)], new Uint8Array(0))
  }
  return padRows(none, 0, paddedRows(rows))
}

/**
 * Takes the rows that `padRows` added off a run's outputs again, as views of them.
 * @throws RpcError `failed_precondition` if an output has not one row for each of the run's
 */
export function trimRows(outputs: Tensors, rows: number): Tensors {
  const padded = paddedRows(rows)
  const result: Tensors = {}
  for (const [name, tensor] of Object.entries(outputs)) {
    requireRows(name, tensor, padded)
    const inner = tensor.shape.slice(1)
    const end = tensor.dtype === 'string'
      ? stringRowEnds(tensor.bytes, product(inner))[rows] ?? 0
      : tensor.bytes.byteLength / (padded || 1) * rows
    result[name] = new Tensor(tensor.dtype, [rows, ...inner], tensor.bytes.subarray(0, end))
  }
  return result
}

function requireRows(name: string, { shape }: Tensor, rows: number): void {
  if (shape[0] === rows) return
  throw new RpcError(
    'failed_precondition',
    `Cannot cut "${name}": axis 0 of a batch of ${rows} must have as many rows, got shape [${shape}]`,
  )
}

/** The next power of two: few enough sizes to keep warm. */
function paddedRows(rows: number): number {
  let padded = 1
  while (padded < rows) padded *= 2
  return padded
}

function partOf(inputs: Tensors, name: string, like: Tensor | undefined, rows: number): Uint8Array {
  const tensor = inputs[name]
  const isAlike = tensor && like && tensor.dtype === like.dtype && tensor.shape.length === like.shape.length &&
    tensor.shape.length > 0 && tensor.shape[0] === rows &&
    tensor.shape.every((size, axis) => axis === 0 || size === like.shape[axis])
  return isAlike ? tensor.bytes : refuse(name)
}

/** Where each row of a string tensor ends, the bytes before row 0 first: found from the lengths, without decoding. */
function stringRowEnds(bytes: Uint8Array, perRow: number): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const ends = [0]
  let offset = 0
  for (let found = 1; offset < bytes.byteLength; found++) {
    offset += 4 + view.getUint32(offset, true)
    if (found % perRow === 0) ends.push(offset)
  }
  return ends
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function refuse(name: string): never {
  throw new RpcError(
    'invalid_argument',
    `Cannot join calls: input "${name}" must have the same dtype and inner sizes in each of them`,
  )
}
