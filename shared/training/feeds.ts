import { DTYPES, type NumericDType } from '../wire/dtype.ts'
import { invalid, RpcError } from '../wire/errors.ts'
import { Tensor } from '../wire/tensor.ts'
import { type ShardRows, shardRowsOf } from './data_order.ts'
import type { DataRows } from './data_rows.ts'
import { dropoutMasks } from './dropout.ts'
import type { Feed, Plan } from './plan.ts'

/** The inputs of one shard: its rows, converted as the graph wants them, their weights, and its masks. */
export async function feedShard(
  plan: Plan,
  data: DataRows,
  step: number,
  shard: number,
  signal: AbortSignal,
): Promise<Record<string, Tensor>> {
  const shardRows = shardRowsOf(plan.order, step, shard)
  const rows = shardRows.rows.map((row) => row + plan.firstRow)
  const columns = await Promise.all(plan.feeds.map((feed) => data.read(plan.files, feed.column, rows, signal)))
  const inputs: Record<string, Tensor> = {
    [plan.weights.name]: weightsOf(plan, shardRows),
    ...masksOf(plan, step, shard),
  }
  for (const [i, feed] of plan.feeds.entries()) {
    const column = plan.files[0]?.columns[feed.column]
    const bytes = columns[i]
    if (column && bytes) inputs[feed.input] = convert(feed, column.dtype as NumericDType, bytes)
  }
  return inputs
}

/** A row's weight stands at each of its positions. */
function weightsOf({ weights: { shape } }: Plan, { weights }: ShardRows): Tensor {
  const size = shape.reduce((product, axis) => product * axis, 1)
  const perRow = size / weights.length
  const values = new Float32Array(size)
  for (let row = 0; row < weights.length; row++) values.fill(weights[row] ?? 0, row * perRow, (row + 1) * perRow)
  return Tensor.from('float32', shape, values)
}

/** Keyed by a sample's place in the step: who computes it does not matter. */
function masksOf({ dropout, order }: Plan, step: number, shard: number): Record<string, Tensor> {
  const samples = Array.from({ length: order.shardRows }, (_, i) => shard * order.shardRows + i)
  return dropoutMasks(dropout, { seed: order.seed, step, samples })
}

function convert({ input, dtype, shape, scale, shift }: Feed, from: NumericDType, bytes: Uint8Array): Tensor {
  const isPlain = scale === 1 && shift === 0
  if (dtype === from && isPlain) return new Tensor(dtype, shape, bytes)
  const { data } = new Tensor(from, [bytes.byteLength / DTYPES[from].bytes], bytes)
  const source = data as unknown as ArrayLike<number | bigint>
  if (dtype === 'float32') {
    const values = new Float32Array(source.length)
    for (let i = 0; i < values.length; i++) values[i] = Number(source[i]) * scale + shift
    return Tensor.from(dtype, shape, values)
  }
  if (dtype === 'int32' && isPlain) {
    const values = new Int32Array(source.length)
    for (let i = 0; i < values.length; i++) {
      values[i] = Number(source[i])
      if (values[i] !== Number(source[i])) throw invalid(`Cannot feed "${input}": int32 is required, got ${source[i]}`)
    }
    return Tensor.from(dtype, shape, values)
  }
  throw new RpcError('failed_precondition', `Cannot feed "${input}": ${dtype} cannot be made of ${from}`)
}
